//! What a device can follow: how much of its sensor the cluster wants, as it changes. Time is virtual.

#![expect(clippy::unwrap_used, reason = "a test: a panic is its failure")]

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_core::Stream;
use senza_core::subscription::{Contract, Pace, Want};
use senza_core::{Filter, SensorId, Value};
use senza_mesh::engine::Mode;
use senza_mesh::handle::{Demands, SensorHandle, Subscriber};
use senza_mesh::sim::Cluster;

/// Virtual time in which a change is known to all that need it.
const SOON: i64 = 100_000;

fn sensor(id: &str) -> Filter {
    Filter::sensor(SensorId::new(id).unwrap())
}

fn interval(micros: u32) -> Want {
    Want { pace: Pace::Interval(micros), ..Want::EVERY }
}

fn watch(cluster: &Cluster, node: &str, filter: &Filter, want: Want) -> Subscriber {
    cluster.subscribe(node, filter, Contract { want, ..Contract::default() })
}

/// What was told since: nothing, or the new demand.
fn told(demands: &mut Demands) -> Option<Option<Want>> {
    let told = demands.recv_timeout(Duration::ZERO);
    assert_eq!(demands.recv_timeout(Duration::ZERO), None, "told once");
    told
}

/// What was told after a while.
fn soon(cluster: &mut Cluster, demands: &mut Demands) -> Option<Option<Want>> {
    cluster.run_for(SOON);
    told(demands)
}

#[test]
fn demand_follows_the_subscriptions_of_its_own_node_and_of_others() {
    // Of one sensor, of a pattern, of all: each is resolved in another way.
    for filter in [sensor("s"), Filter::pattern("s/*").unwrap(), Filter::all()] {
        let mut cluster = Cluster::seed(1).nodes(3);
        let handle = cluster.register("a", "s");
        handle.put("x", Value::I64(1)).unwrap();
        let mut demands = handle.demands().unwrap();
        assert_eq!(told(&mut demands), Some(None), "first the present one: nobody watches");
        assert_eq!(soon(&mut cluster, &mut demands), None, "nothing changed");

        let slow = watch(&cluster, "a", &filter, interval(1_000_000));
        assert_eq!(soon(&mut cluster, &mut demands), Some(Some(interval(1_000_000))), "{filter:?}");
        let faster = watch(&cluster, "b", &filter, interval(250_000));
        assert_eq!(soon(&mut cluster, &mut demands), Some(Some(interval(250_000))), "{filter:?}");
        let between = watch(&cluster, "c", &filter, interval(500_000));
        assert_eq!(soon(&mut cluster, &mut demands), None, "no more is wanted than before");
        let every = watch(&cluster, "c", &filter, Want::EVERY);
        assert_eq!(soon(&mut cluster, &mut demands), Some(Some(Want::EVERY)), "{filter:?}");

        drop(every);
        assert_eq!(soon(&mut cluster, &mut demands), Some(Some(interval(250_000))), "{filter:?}");
        drop(faster);
        assert_eq!(soon(&mut cluster, &mut demands), Some(Some(interval(500_000))), "{filter:?}");
        drop(between);
        assert_eq!(soon(&mut cluster, &mut demands), Some(Some(interval(1_000_000))), "{filter:?}");
        drop(slow);
        assert_eq!(soon(&mut cluster, &mut demands), Some(None), "{filter:?}");
    }
}

#[test]
fn watchers_die_with_their_node() {
    let mut cluster = Cluster::seed(2).nodes(3);
    let handle = cluster.register("a", "s");
    handle.put("x", Value::I64(1)).unwrap();
    let _every = watch(&cluster, "b", &sensor("s"), Want::EVERY);
    let slow = watch(&cluster, "c", &Filter::all(), interval(1_000_000));
    cluster.settle();
    let mut demands = handle.demands().unwrap();
    assert_eq!(told(&mut demands), Some(Some(Want::EVERY)));
    cluster.crash("b");
    assert_eq!(soon(&mut cluster, &mut demands), Some(Some(interval(1_000_000))), "its token went");
    cluster.partition(&[&["a"], &["c"]]);
    cluster.settle();
    assert_eq!(told(&mut demands), Some(None), "who is cut off is not reached");
    cluster.heal_all();
    cluster.settle();
    assert_eq!(told(&mut demands), Some(Some(interval(1_000_000))), "and is back with what it wants");
    cluster.stop("c");
    assert_eq!(soon(&mut cluster, &mut demands), Some(None));
    drop(slow);
}

#[test]
fn a_sensor_that_nobody_watches_says_none() {
    let mut cluster = Cluster::seed(3).nodes(2);
    let [watched, other] = ["watched", "other"].map(|id| cluster.register("a", id));
    let mut followed = [&watched, &other].map(|handle| {
        handle.put("x", Value::I64(1)).unwrap();
        handle.demands().unwrap()
    });
    assert_eq!(followed.each_mut().map(told), [Some(None), Some(None)]);
    let watchers = ["a", "b"].map(|node| watch(&cluster, node, &sensor("watched"), Want::EVERY));
    cluster.run_for(SOON);
    assert_eq!(followed.each_mut().map(told), [Some(Some(Want::EVERY)), None]);
    assert_eq!(other.demand(), None);
    drop(watchers);
}

#[test]
fn a_new_attribute_may_be_watched_where_no_other_is() {
    let mut cluster = Cluster::seed(4).nodes(2);
    let handle = cluster.register("a", "s");
    let mut demands = handle.demands().unwrap();
    let _y = watch(&cluster, "b", &Filter::pattern("s/y").unwrap(), Want::EVERY);
    assert_eq!(soon(&mut cluster, &mut demands), Some(None), "it has no attribute");
    handle.attribute("x").unwrap();
    assert_eq!(soon(&mut cluster, &mut demands), None);
    handle.attribute("y").unwrap();
    assert_eq!(soon(&mut cluster, &mut demands), Some(Some(Want::EVERY)));
    // By id too, as the doors do it.
    let by_id = cluster.register("a", "t");
    let mut demands = by_id.demands().unwrap();
    let _z = watch(&cluster, "b", &Filter::pattern("t/z").unwrap(), Want::EVERY);
    assert_eq!(soon(&mut cluster, &mut demands), Some(None));
    cluster.engine("a").put_by_id("t", "z", Value::I64(1), None).unwrap();
    assert_eq!(soon(&mut cluster, &mut demands), Some(Some(Want::EVERY)));
}

#[test]
fn a_sensor_that_is_taken_over_or_ends_is_wanted_elsewhere() {
    let mut cluster = Cluster::seed(5).nodes(2);
    let here = cluster.register("a", "s");
    here.put("x", Value::I64(1)).unwrap();
    let _all = watch(&cluster, "b", &Filter::all(), Want::EVERY);
    cluster.settle();
    let mut demands = here.demands().unwrap();
    assert_eq!(told(&mut demands), Some(Some(Want::EVERY)));
    let there = cluster.register("b", "s");
    there.put("x", Value::I64(2)).unwrap();
    let mut moved = there.demands().unwrap();
    assert_eq!(soon(&mut cluster, &mut demands), Some(None));
    assert_eq!(told(&mut moved), Some(Some(Want::EVERY)));
    drop(there);
    assert_eq!(soon(&mut cluster, &mut moved), Some(None));
}

#[test]
fn who_looks_seldom_sees_the_latest_alone() {
    let mut cluster = Cluster::seed(6).nodes(1);
    let handle = cluster.register("a", "s");
    handle.attribute("x").unwrap();
    let mut demands = handle.demands().unwrap();
    assert_eq!(told(&mut demands), Some(None));
    let mut watchers = Vec::new();
    for micros in [400_000, 300_000, 200_000] {
        watchers.push(watch(&cluster, "a", &sensor("s"), interval(micros)));
        cluster.run_for(SOON);
    }
    assert_eq!(told(&mut demands), Some(Some(interval(200_000))));
    watchers.push(watch(&cluster, "a", &sensor("s"), Want::EVERY));
    cluster.run_for(SOON);
    watchers.pop();
    assert_eq!(soon(&mut cluster, &mut demands), None, "it is as it was");
}

#[test]
fn every_follower_of_many_is_told() {
    // More than are looked at in one tick, some of them gone.
    let count = 9_000;
    let mut cluster = Cluster::seed(7).nodes(1);
    let handles: Vec<_> = (0..count).map(|n| cluster.register("a", &format!("s{n}"))).collect();
    let mut followed: Vec<Demands> = Vec::new();
    for handle in &handles {
        handle.attribute("x").unwrap();
        followed.push(handle.demands().unwrap());
    }
    followed.iter_mut().for_each(|demands| assert_eq!(told(demands), Some(None)));
    drop(followed.drain(1000..2000));
    let every = watch(&cluster, "a", &Filter::all(), Want::EVERY);
    cluster.run_for(SOON);
    followed.iter_mut().for_each(|demands| assert_eq!(told(demands), Some(Some(Want::EVERY))));
    drop(every);
    cluster.run_for(SOON);
    followed.iter_mut().for_each(|demands| assert_eq!(told(demands), Some(None)));
}

/// Counts how often a task was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_task_is_woken_by_a_change_and_by_nothing_else() {
    let mut cluster = Cluster::seed(8).nodes(1);
    let handle = cluster.register("a", "s");
    handle.attribute("x").unwrap();
    let mut demands = handle.demands().unwrap();
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let mut poll = || Pin::new(&mut demands).poll_next(&mut Context::from_waker(&waker));
    assert_eq!(poll(), Poll::Ready(Some(None)));
    assert_eq!(poll(), Poll::Pending);
    let _other = watch(&cluster, "a", &sensor("other"), Want::EVERY);
    cluster.run_for(SOON);
    assert_eq!((woken.0.load(Ordering::Relaxed), poll()), (0, Poll::Pending));
    let _every = watch(&cluster, "a", &sensor("s"), Want::EVERY);
    cluster.run_for(SOON);
    assert_eq!((woken.0.load(Ordering::Relaxed), poll()), (1, Poll::Ready(Some(Some(Want::EVERY)))));
}

#[test]
fn a_follower_is_told_that_its_claim_is_over_though_nobody_watched() {
    let mut cluster = Cluster::seed(9).nodes(2);
    let follow = |handle: &SensorHandle| {
        let mut demands = handle.demands().unwrap();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let mut context = Context::from_waker(&waker);
        assert_eq!(Pin::new(&mut demands).poll_next(&mut context), Poll::Ready(Some(None)));
        assert_eq!(Pin::new(&mut demands).poll_next(&mut context), Poll::Pending);
        (demands, woken)
    };
    let [moved, ended] = ["moved", "ended"].map(|id| cluster.register("a", id));
    cluster.settle();
    let followed = [&moved, &ended].map(follow);
    cluster.run_for(SOON);
    for (demands, woken) in &followed {
        assert_eq!((demands.is_over(), woken.0.load(Ordering::Relaxed)), (false, 0));
    }
    let _there = cluster.register("b", "moved");
    drop(ended);
    // Another claim of this node's is not the one that was followed.
    let _again = cluster.register("a", "ended");
    cluster.run_for(SOON);
    for (demands, woken) in &followed {
        assert_eq!((demands.is_over(), woken.0.load(Ordering::Relaxed)), (true, 1));
    }
    assert!(moved.demands().unwrap().is_over(), "it was over before");
}

#[test]
fn in_shadow_a_follower_goes_on_though_its_claim_is_beaten() {
    let mut cluster = Cluster::seed(10).nodes(2);
    let handle = cluster.register("a", "s");
    handle.put("x", Value::I64(1)).unwrap();
    cluster.settle();
    cluster.engine("a").switch(Mode::Shadow);
    let mut demands = handle.demands().unwrap();
    let _there = cluster.register("b", "s");
    cluster.settle();
    let _watched = watch(&cluster, "a", &Filter::all(), Want::EVERY);
    assert_eq!(soon(&mut cluster, &mut demands), Some(Some(Want::EVERY)));
    assert_eq!((handle.put("x", Value::I64(2)), demands.is_over()), (Ok(2), false), "nothing is taken away");
    cluster.engine("a").switch(Mode::Cluster);
    cluster.settle();
    assert!(handle.put("x", Value::I64(3)).is_err() && demands.is_over(), "now the later claim counts");
}
