//! `senza top`: what every node, link and subscription carries, again and again.
//!
//! A rate is of what a node counted between two looks. Nodes count; this divides.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, Write};
use std::time::Duration;

use clap::Args;
use senza_mesh::clock::{Clock, SystemClock};
use senza_mesh::zenoh_client::Client;
use serde_json::{Value as Json, json};

use super::client::{ask, columns, connect, number, pace, plural, text};
use super::{ClientArgs, Failure, Outcome, duration, redraw, stop_signal};

/// Shortest time between two looks: what a look costs the nodes grows with their subscriptions.
const EVERY_MIN: Duration = Duration::from_millis(50);
/// Columns of the ledger.
const LEDGER: [&str; 6] = ["offered", "delivered", "conflated", "filtered", "dropped", "queued"];

#[derive(Args)]
pub(crate) struct TopArgs {
    /// Look so often, like 1s or 500ms
    #[arg(long, value_parser = duration, default_value = "1s")]
    every: Duration,
    /// End after so many looks
    #[arg(long)]
    count: Option<u64>,
    #[command(flatten)]
    client: ClientArgs,
}

/// What all nodes said at one look, by node and page.
#[derive(Default)]
struct Look {
    /// Microseconds on this process's clock that does not go back.
    steady_us: i64,
    nodes: BTreeMap<String, Pages>,
}

/// One node's pages.
#[derive(Clone, Default)]
struct Pages {
    record: Json,
    stats: Json,
    links: Json,
    accounts: Json,
    latency: Json,
}

pub(crate) fn top(args: &TopArgs) -> Outcome {
    if args.every < EVERY_MIN {
        return Err(Failure::usage(format!("--every: must be at least {EVERY_MIN:?}")));
    }
    let client = connect(&args.client)?;
    let stopped = stop_signal()?;
    let mut before = Look::default();
    for looked in 0..args.count.unwrap_or(u64::MAX) {
        // Only the time-out goes on; the channel closing is the end.
        if looked > 0 && stopped.recv_timeout(args.every) != Err(crossbeam_channel::RecvTimeoutError::Timeout) {
            break;
        }
        let now = look(&client, &args.client)?;
        let report = report(&before, &now);
        if !show(&report, args) {
            break;
        }
        before = now;
    }
    let mut out = std::io::stdout();
    if out.is_terminal() {
        // The screen ends without a line's end; what comes next begins below it.
        let _written = writeln!(out);
    }
    Ok(())
}

/// Asks for all pages at once: a node that does not answer is waited for once.
fn look(client: &Client, args: &ClientArgs) -> Result<Look, Failure> {
    let mut look = Look { steady_us: SystemClock.steady(), nodes: BTreeMap::new() };
    for (key, json) in ask(client, args, "nodes/**", "", None)? {
        let path = key.split_once("nodes/").map_or(key.as_str(), |(_, path)| path);
        let (node, page) = path.split_once('/').unwrap_or((path, ""));
        let pages = look.nodes.entry(node.to_owned()).or_default();
        match page {
            "" => pages.record = json,
            "stats" => pages.stats = json,
            "links" => pages.links = json,
            "subscriptions" => pages.accounts = json,
            "latency" => pages.latency = json,
            _ => {}
        }
    }
    // Pages without a record are of a node that stopped meanwhile.
    look.nodes.retain(|_, pages| pages.record.is_object());
    Ok(look)
}

// === what is shown ===

/// One look as JSON; rates against the look before are null where there is none.
fn report(before: &Look, now: &Look) -> Json {
    let seconds = (now.steady_us - before.steady_us) as f64 / 1e6;
    let rate = |earlier: Option<u64>, later: u64| match earlier {
        // A number that fell began anew, as a link does that was cut.
        Some(earlier) => json!(later.checked_sub(earlier).unwrap_or(later) as f64 / seconds.max(1e-6)),
        None => Json::Null,
    };
    let (mut nodes, mut links, mut accounts) = (Vec::new(), Vec::new(), Vec::new());
    for (node, pages) in &now.nodes {
        // Of another life of that name nothing can be compared.
        let same_life = |pages: &&Pages| pages.record["incarnation"] == now.nodes[node].record["incarnation"];
        let past = before.nodes.get(node).filter(same_life);
        nodes.push(json!({
            "node": node, "mode": pages.record["mode"], "sensors": number(&pages.record, "sensors"),
            "readings_in": number(&pages.stats, "readings_in"),
            "readings_in_per_s":
                rate(past.map(|past| number(&past.stats, "readings_in")), number(&pages.stats, "readings_in")),
        }));
        for link in list(&pages.links["links"]) {
            let to = text(link, "node");
            let sent_before = past.map(|past| link_to(past, to).map_or(0, |link| number(&link["sent"], "readings")));
            let bytes_before = past.map(|past| link_to(past, to).map_or(0, |link| number(&link["sent"], "bytes")));
            let account = list(&pages.accounts).iter().find(|account| account["to"] == *to);
            let sent = &link["sent"];
            if account.is_none() && number(sent, "frames") == 0 {
                // It only receives: the other node shows it.
                continue;
            }
            let received = now.nodes.get(to).and_then(|pages| link_to(pages, node)).map(|link| &link["received"]);
            links.push(json!({
                "from": node, "to": to,
                "readings_per_s": rate(sent_before, number(sent, "readings")),
                "bytes_per_s": rate(bytes_before, number(sent, "bytes")),
                "frames_lost": received.map(|received| number(received, "frames_lost")),
                "queued": account.map_or(0, |account| number(&account["ledger"], "queued")),
                "dropped": account.map_or(0, |account| number(&account["ledger"], "dropped")),
            }));
        }
        for account in list(&pages.accounts) {
            let of = |past: &Pages| list(&past.accounts).iter().find(|other| other["id"] == account["id"]).cloned();
            let earlier = |column| past.map(|past| of(past).map_or(0, |other| number(&other["ledger"], column)));
            let mut told = account.clone();
            told["node"] = node.as_str().into();
            for column in ["offered", "delivered"] {
                told[format!("{column}_per_s")] = rate(earlier(column), number(&account["ledger"], column));
            }
            accounts.push(told);
        }
    }
    let (hops, clocks) = (of_pages(now, "hops"), of_pages(now, "clocks"));
    json!({
        "at_us": SystemClock.now(), "nodes": nodes, "links": links, "subscriptions": accounts, "hops": hops,
        "clocks": clocks, "silent": silent(now),
    })
}

/// The entries of one list of all latency pages, each with the node that says it as `at`.
fn of_pages(now: &Look, name: &str) -> Vec<Json> {
    let of_node = |(node, pages): (&String, &Pages)| -> Vec<Json> {
        let mut entries = list(&pages.latency[name]).to_vec();
        entries.iter_mut().for_each(|entry| entry["at"] = node.as_str().into());
        entries
    };
    now.nodes.iter().flat_map(of_node).collect()
}

/// Nodes that others see and that did not answer.
fn silent(look: &Look) -> Vec<&str> {
    let sees = look.nodes.values().filter_map(|pages| pages.record["sees"].as_object());
    let seen: BTreeSet<&str> = sees.flat_map(|sees| sees.keys().map(String::as_str)).collect();
    seen.into_iter().filter(|node| !look.nodes.contains_key(*node)).collect()
}

fn list(json: &Json) -> &[Json] {
    json.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn link_to<'a>(pages: &'a Pages, node: &str) -> Option<&'a Json> {
    list(&pages.links["links"]).iter().find(|link| link["node"] == *node)
}

/// Shows one look: a line of JSON, a screen over the last one, or a block. Answers whether anybody still reads it.
fn show(report: &Json, args: &TopArgs) -> bool {
    let mut out = std::io::stdout().lock();
    let written = if args.client.json {
        writeln!(out, "{report}")
    } else if out.is_terminal() {
        redraw(&mut out, screen(report, super::terminal_lines()))
    } else {
        writeln!(out, "{}\n", blocks(report).concat().join("\n"))
    };
    written.and_then(|()| out.flush()).is_ok()
}

/// The blocks, cut to the height of a terminal: what does not fit is said.
fn screen(report: &Json, height: usize) -> Vec<String> {
    let mut lines = blocks(report).concat();
    let shown = height.saturating_sub(2).max(1);
    if lines.len() > shown {
        let hidden = lines.len() - shown;
        lines.truncate(shown);
        lines.push(format!("… and {hidden} more line{}", plural(hidden)));
    }
    lines
}

/// Head, nodes, links, subscriptions, each as lines.
fn blocks(report: &Json) -> Vec<Vec<String>> {
    let (nodes, links, accounts) = (list(&report["nodes"]), list(&report["links"]), list(&report["subscriptions"]));
    let sensors: u64 = nodes.iter().map(|node| number(node, "sensors")).sum();
    let mut head = vec![format!(
        "senza top: {} node{}, {sensors} sensor{}, {} subscription{}    ctrl-c ends it",
        nodes.len(),
        plural(nodes.len()),
        plural(sensors as usize),
        accounts.len(),
        plural(accounts.len())
    )];
    let silent: Vec<&str> = list(&report["silent"]).iter().filter_map(Json::as_str).collect();
    if !silent.is_empty() {
        head.push(format!("incomplete: no answer from {}", silent.join(", ")));
    }
    let of_node = |node: &Json| {
        [text(node, "node").to_owned(), number(node, "sensors").to_string(), per_second(&node["readings_in_per_s"])]
    };
    let of_link = |link: &Json| {
        let [queued, dropped] = ["queued", "dropped"].map(|column| number(link, column).to_string());
        let lost = link["frames_lost"].as_u64().map_or("?".to_owned(), |lost| lost.to_string());
        let (readings, bytes) = (per_second(&link["readings_per_s"]), per_second(&link["bytes_per_s"]));
        [format!("{} → {}", text(link, "from"), text(link, "to")), readings, bytes, lost, queued, dropped]
    };
    let of_account = |account: &Json| {
        let to = account["to"].as_str().map_or("a reader".to_owned(), str::to_owned);
        let [offered, delivered, conflated, filtered, dropped, queued] =
            LEDGER.map(|column| number(&account["ledger"], column).to_string());
        let (offered_rate, rate) = (per_second(&account["offered_per_s"]), per_second(&account["delivered_per_s"]));
        let name = format!("{} #{} → {to}", text(account, "node"), number(account, "id"));
        let wanted = of_wanted(&account["wanted"]);
        [name, offered_rate, rate, offered, delivered, conflated, filtered, dropped, queued, wanted]
    };
    let mut blocks = vec![head, columns(["NODE", "SENSORS", "IN/s"], nodes.iter().map(of_node).collect())];
    if !links.is_empty() {
        let head = ["LINK", "READINGS/s", "BYTES/s", "FRAMES LOST", "QUEUED", "DROPPED"];
        blocks.push(columns(head, links.iter().map(of_link).collect()));
    }
    if !accounts.is_empty() {
        let head = [
            "SUBSCRIPTION",
            "OFFERED/s",
            "DELIVERED/s",
            "OFFERED",
            "DELIVERED",
            "CONFLATED",
            "FILTERED",
            "DROPPED",
            "QUEUED",
            "WANTED",
        ];
        blocks.push(columns(head, accounts.iter().map(of_account).collect()));
    }
    let hops: Vec<&Json> = list(&report["hops"]).iter().filter(|hop| number(hop, "readings") > 0).collect();
    if !hops.is_empty() {
        let head = ["LATENCY", "READINGS", "p50 µs", "p90", "p99", "p99.9", "MAX", "IMPOSSIBLE"];
        blocks.push(columns(head, hops.into_iter().map(of_hop).collect()));
    }
    // An empty line before each but the first.
    blocks.iter_mut().skip(1).for_each(|block| block.insert(0, String::new()));
    blocks
}

/// A hop as a row: where, how many, how long.
fn of_hop(hop: &Json) -> [String; 8] {
    let (at, name) = (text(hop, "at"), text(hop, "hop"));
    let way = match (name, hop["node"].as_str()) {
        ("link", Some(from)) => format!("{from} → {at} link"),
        (_, Some(to)) => format!("{at} → {to} {name}"),
        (_, None) => format!("{at} {name}"),
    };
    let of = |column| number(hop, column).to_string();
    let [readings, p50, p90, p99] = ["readings", "p50_us", "p90_us", "p99_us"].map(of);
    let [p999, max, impossible] = ["p999_us", "max_us", "impossible"].map(of);
    [way, readings, p50, p90, p99, p999, max, impossible]
}

fn per_second(rate: &Json) -> String {
    rate.as_f64().map_or("-".to_owned(), |rate| format!("{rate:.1}"))
}

/// What a subscription wants, as short as it goes: the first filter's entries and its pace.
fn of_wanted(wanted: &Json) -> String {
    let Some(first) = wanted.get(0) else { return "nothing".to_owned() };
    let lists = ["sensors", "patterns", "attributes", "types", "nodes"];
    let entries: Vec<&str> = lists.iter().flat_map(|name| list(&first[*name])).filter_map(Json::as_str).collect();
    let (named, more) = (entries.first().copied().unwrap_or("all"), entries.len().saturating_sub(1));
    // An id may hold what would move the cursor.
    let named: String = named.chars().map(|c| if c.is_control() { '·' } else { c }).take(40).collect();
    let more = if more > 0 { format!(" +{more}") } else { String::new() };
    let others = list(wanted).len() - 1;
    let others = if others > 0 { format!("; {others} more") } else { String::new() };
    format!("{} of {named}{more}{others}", pace(&first["pace"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(incarnation: u64, readings: u64, sent: u64, offered: u64) -> Pages {
        Pages {
            record: json!({ "node": "a", "incarnation": incarnation, "sensors": 3, "sees": { "a": 3, "b": 0 } }),
            stats: json!({ "readings_in": readings }),
            links: json!({ "links": [
                { "node": "b", "sent": { "frames": 1, "bytes": 10 * sent, "readings": sent }, "received": {} },
            ] }),
            accounts: json!([
                { "id": 7, "to": "b", "wanted": [{ "sensors": ["s", "t"], "pace": { "interval_us": 250_000 } }],
                  "ledger": { "offered": offered, "delivered": 4, "queued": offered - 4, "dropped": 2 } },
                { "id": 8, "to": null, "wanted": [{ "pace": "every" }], "ledger": { "offered": 1, "delivered": 1 } },
            ]),
            latency: json!({ "hops": [
                { "hop": "link", "node": "c", "readings": 9, "p50_us": 80, "max_us": 99 },
                { "hop": "remote", "node": null, "readings": 0 },
            ], "clocks": [{ "node": "c", "offset_us": -3 }] }),
        }
    }

    fn at(seconds: i64, pages: Pages) -> Look {
        Look { steady_us: seconds * 1_000_000, nodes: [("a".to_owned(), pages)].into() }
    }

    #[test]
    fn rates_are_of_what_was_counted_between_two_looks() {
        let told = report(&at(10, node(1, 100, 50, 10)), &at(12, node(1, 120, 60, 24)));
        assert_eq!(told["nodes"][0]["readings_in_per_s"], 10.0);
        let link = &told["links"][0];
        assert_eq!((&link["readings_per_s"], &link["bytes_per_s"]), (&json!(5.0), &json!(50.0)));
        assert_eq!((&link["queued"], &link["dropped"]), (&json!(20), &json!(2)));
        assert_eq!(link["frames_lost"], Json::Null, "b counts them, and does not answer");
        assert_eq!(told["silent"], json!(["b"]));
        let account = &told["subscriptions"][0];
        assert_eq!((&account["offered_per_s"], &account["delivered_per_s"]), (&json!(7.0), &json!(0.0)));
    }

    #[test]
    fn without_a_look_before_of_the_same_life_there_are_no_rates() {
        for before in [Look::default(), at(10, node(1, 100, 50, 10))] {
            let told = report(&before, &at(12, node(2, 120, 60, 24)));
            for rate in [
                &told["nodes"][0]["readings_in_per_s"],
                &told["links"][0]["bytes_per_s"],
                &told["subscriptions"][0]["offered_per_s"],
            ] {
                assert_eq!(*rate, Json::Null);
            }
        }
    }

    #[test]
    fn a_number_that_fell_began_anew() {
        let told = report(&at(10, node(1, 100, 50, 10)), &at(12, node(1, 120, 8, 24)));
        assert_eq!(told["links"][0]["readings_per_s"], 4.0);
    }

    #[test]
    fn a_screen_says_what_it_hides() {
        let told = report(&Look::default(), &at(1, node(1, 100, 50, 10)));
        let whole = screen(&told, 50).join("\n");
        for part in ["1 node, 3 sensors, 2 subscriptions", "a → b", "≤ 4/s of s +1", "a #8 → a reader", "every of all"]
        {
            assert!(whole.contains(part), "{part} in\n{whole}");
        }
        assert!(whole.contains("c → a link  9"), "{whole}");
        assert!(!whole.contains("remote"), "nothing was measured there:\n{whole}");
        assert_eq!(told["clocks"], json!([{ "node": "c", "offset_us": -3, "at": "a" }]));
        let low = screen(&told, 6);
        assert_eq!(low.len(), 5, "{low:?}");
        assert!(low[4].starts_with("… and "), "{low:?}");
    }
}
