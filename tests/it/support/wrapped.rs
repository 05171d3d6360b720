//! Backends that wrap another one in the field `backend`, so that a test can change what it does.

use tidings::broker::{Signal, Signals};
use tokio::sync::mpsc;

/// Implements `Backend`, and with `and Notifier` that too, by the wrapped backend. The file uses `async_trait`.
macro_rules! forward {
    ($wrapper:ty, Backend) => {
        #[async_trait]
        impl Backend for $wrapper {
            fn nodes(&self) -> &dyn tidings::broker::nodes::Nodes {
                self.backend.nodes()
            }

            fn latest(&self) -> &dyn tidings::broker::Latest {
                self.backend.latest()
            }

            fn store(&self) -> &dyn tidings::broker::Store {
                self.backend.store()
            }

            async fn close(&self) {
                self.backend.close().await;
            }
        }
    };
    ($wrapper:ty, Backend and Notifier) => {
        $crate::support::wrapped::forward!($wrapper, Backend);

        #[async_trait]
        impl Notifier for $wrapper {
            async fn probe(&self, number: u64) -> Result<(), BrokerError> {
                self.backend.probe(number).await
            }

            async fn announce(&self, channel: ChannelId, text: &str) -> Result<(), BrokerError> {
                self.backend.announce(channel, text).await
            }
        }
    };
}
pub(crate) use forward;

/// Sends the signals of the wrapped backend to `own` as well, through which a test can send others.
pub fn send_on(mut signals: Signals, own: mpsc::Sender<Signal>) {
    tokio::spawn(async move {
        while let Some(signal) = signals.recv().await {
            let _ = own.send(signal).await;
        }
    });
}
