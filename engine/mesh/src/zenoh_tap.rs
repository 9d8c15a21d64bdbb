//! A tap: one link of a node to itself, over which Zenoh tells which key expressions are subscribed to.
//!
//! A publisher learns of its subscribers only whether there are any. What it is told underneath is more: the protocol
//! answers an *interest* with every subscriber's key expression, and then with every change. A tap is the least
//! client that sends one interest and reads the answers: it declares nothing, is sent no data, and costs one loopback
//! connection. It speaks the protocol through the crates that the crate zenoh itself is made of, of the same version.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use zenoh_config::{Config, WhatAmI};
use zenoh_link::{EndPoint, Link};
use zenoh_protocol::core::{Reliability, WireExpr};
use zenoh_protocol::network::declare::DeclareBody;
use zenoh_protocol::network::interest::{Interest, InterestMode, InterestOptions, ext};
use zenoh_protocol::network::{NetworkBodyMut, NetworkMessageMut};
use zenoh_runtime::ZRuntime;
use zenoh_transport::multicast::TransportMulticast;
use zenoh_transport::unicast::TransportUnicast;
use zenoh_transport::{
    TransportEventHandler, TransportManager, TransportMulticastEventHandler, TransportPeer, TransportPeerEventHandler,
};

/// How long the node has to accept its own link.
const OPEN: Duration = Duration::from_millis(500);
/// The interest's number: the only one on its link.
const INTEREST: u32 = 1;

/// Something that a tap heard.
#[derive(Debug)]
pub(crate) enum Told<'a> {
    /// A key expression has a subscriber; the number stands for it.
    Followed(u32, &'a str),
    /// It has none any more.
    Unfollowed(u32),
    /// All that held at the beginning was told.
    Complete,
    /// The link is closed: nothing more will be told.
    Closed,
}

/// Whoever listens; called on Zenoh's threads, so it only keeps what it hears.
pub(crate) trait Listener: Send + Sync + 'static {
    /// Takes it in.
    fn hear(&self, told: Told<'_>);
}

/// An open tap. Dropping it closes its link.
pub(crate) struct Tap {
    manager: TransportManager,
}

// === impl Tap ===

impl Tap {
    /// Connects to an endpoint of this node and asks for the subscribers of an expression. `settings` are those that
    /// links are made by: path and JSON5 value. Blocks for half a second at most.
    pub(crate) fn open(
        endpoint: &str,
        settings: &[(String, String)],
        expression: &str,
        listener: Arc<dyn Listener>,
    ) -> zenoh::Result<Self> {
        let endpoint: EndPoint = endpoint.parse()?;
        let config = config(settings)?;
        ZRuntime::Application.block_in_place(async {
            let builder = TransportManager::builder().from_config(&config.expanded()).await?;
            let tap = Self { manager: builder.whatami(WhatAmI::Client).build(Arc::new(Ear(listener)))? };
            let link = match tokio::time::timeout(OPEN, tap.manager.open_transport_unicast(endpoint)).await {
                Ok(link) => link?,
                Err(_) => return Err(format!("no answer within {OPEN:?}").into()),
            };
            link.schedule(NetworkMessageMut {
                body: NetworkBodyMut::Interest(&mut interest(expression)),
                reliability: Reliability::Reliable,
            })?;
            Ok(tap)
        })
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        ZRuntime::Application.block_in_place(self.manager.close());
    }
}

fn config(settings: &[(String, String)]) -> zenoh::Result<Config> {
    let mut config = Config::default();
    for (path, value) in settings.iter().filter(|(path, _)| path.starts_with("transport/")) {
        config.insert_json5(path, value)?;
    }
    config.insert_json5("mode", "\"client\"")?;
    // The certificate's name is for others, who do not come by the address listened on; its issuer is verified.
    config.insert_json5("transport/link/tls/verify_name_on_connect", "false")?;
    Ok(config)
}

/// Subscribers alone: without key expressions Zenoh spells every key out and spends no number on it; a link has 65,535
/// of them.
fn interest(expression: &str) -> Interest {
    Interest {
        id: INTEREST,
        mode: InterestMode::CurrentFuture,
        options: InterestOptions::SUBSCRIBERS,
        wire_expr: Some(WireExpr::from(expression.to_owned())),
        ext_qos: ext::QoSType::INTEREST,
        ext_tstamp: None,
        ext_nodeid: ext::NodeIdType::DEFAULT,
    }
}

// === impl Ear ===

struct Ear(Arc<dyn Listener>);

impl TransportEventHandler for Ear {
    fn new_unicast(
        &self,
        _peer: TransportPeer,
        _transport: TransportUnicast,
    ) -> zenoh::Result<Arc<dyn TransportPeerEventHandler>> {
        Ok(Arc::new(Ear(self.0.clone())))
    }

    fn new_multicast(&self, _transport: TransportMulticast) -> zenoh::Result<Arc<dyn TransportMulticastEventHandler>> {
        Err("a tap has one link, to its own node".into())
    }
}

impl TransportPeerEventHandler for Ear {
    fn handle_message(&self, message: NetworkMessageMut<'_>) -> zenoh::Result<()> {
        let NetworkBodyMut::Declare(declare) = message.body else { return Ok(()) };
        match &declare.body {
            DeclareBody::DeclareSubscriber(told) if told.wire_expr.scope == 0 => {
                self.0.hear(Told::Followed(told.id, &told.wire_expr.suffix));
            }
            // By a number, which was not asked for: it may mean anything.
            DeclareBody::DeclareSubscriber(told) => self.0.hear(Told::Followed(told.id, "**")),
            DeclareBody::UndeclareSubscriber(told) => self.0.hear(Told::Unfollowed(told.id)),
            DeclareBody::DeclareFinal(_) if declare.interest_id == Some(INTEREST) => self.0.hear(Told::Complete),
            _ => {}
        }
        Ok(())
    }

    fn new_link(&self, _link: Link) {}

    fn del_link(&self, _link: Link) {}

    fn closed(&self) {
        self.0.hear(Told::Closed);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
