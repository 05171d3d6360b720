//! Publishes one order's way from `pending` to `shipped`, then shows how a refusal looks.
//!
//! `cargo run --example publish`, with a daemon at `TIDINGS_URL` (`http://127.0.0.1:7400` by default).

use serde_json::json;
use tidings::client::{Client, Error};
use tidings::event::{OrderStatus, OrderStatusChange, Payload};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let url = std::env::var("TIDINGS_URL").unwrap_or_else(|_| "http://127.0.0.1:7400".into());
    let client = Client::new(&url)?;

    // A built-in type: the compiler checks its fields. The client makes the event's id and retries under it, so a retry
    // never publishes the event twice.
    let pending = Payload::OrderStatus(OrderStatusChange {
        order_id: "o-1".into(),
        old_status: None,
        new_status: OrderStatus::Pending,
        customer_id: Some("c-7".into()),
    });
    let accepted = client.publish(&pending).await?;
    println!("published {} at {}", accepted.id, accepted.position);

    // Any CloudEvent as JSON, your own types included. A batch is published in its order, or refused as a whole.
    let mut batch = [
        json!({"type": "order-status", "data": {"orderId": "o-1", "oldStatus": "pending", "newStatus": "confirmed"}}),
        json!({"type": "order-status", "data": {"orderId": "o-1", "oldStatus": "confirmed", "newStatus": "shipped"}}),
    ];
    for accepted in client.publish_all(&mut batch).await? {
        println!("published {} at {}", accepted.id, accepted.position);
    }

    // The daemon validates each event and names every mistake with its place.
    let wrong = json!({"type": "order-status", "data": {"orderId": "o-1", "newStatus": "lost"}});
    match client.publish(&wrong).await {
        Err(Error::Refused(problem)) => {
            println!("refused: {}", problem.code);
            for mistake in problem.errors {
                println!("  {}: {}", mistake.pointer, mistake.message);
            }
            Ok(())
        }
        other => other.map(drop),
    }
}
