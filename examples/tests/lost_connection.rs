//! A shop that must deliver each order once, whatever becomes of its connection.

use homing::{Client, Error, ErrorCode};
use homing_testkit::FakeServer;

/// Takes orders: each is a node of its own below `/orders`.
struct Shop {
    client: Client,
}

impl Shop {
    async fn open(servers: &str) -> Result<Self, Error> {
        let client = Client::connect(servers).await?;
        match client.create("/orders", b"").await {
            Err(error) if error.code() != Some(ErrorCode::NodeExists) => Err(error),
            _ => Ok(Self { client }),
        }
    }

    async fn order(&self, what: &str) -> Result<(), Error> {
        let order = self.client.create("/orders/n-", what.as_bytes());
        // Should the answer get lost, the client finds out whether there is such a node.
        order.sequential().protected().await?;
        Ok(())
    }
}

#[tokio::test]
async fn each_order_is_taken_once() {
    let server = FakeServer::start();
    let shop = Shop::open(&server.connect_string()).await.unwrap();

    server.cut_after_apply(1); // The order is taken, and nobody is told.
    shop.order("tea").await.unwrap();

    server.cut_before_apply(1); // The order gets lost on its way.
    shop.order("milk").await.unwrap();

    server.cut_connections(); // Perhaps the shop knows already, perhaps it does not.
    shop.order("bread").await.unwrap();

    server.stop(); // Nobody is there to take it, for a while.
    let (ordered, restarted) = tokio::join!(shop.order("jam"), async { server.restart() });
    ordered.unwrap();
    restarted.unwrap();

    assert_eq!(orders(&server), ["tea", "milk", "bread", "jam"]);
}

#[tokio::test]
async fn a_bad_day_loses_no_order() {
    let server = FakeServer::start();
    let shop = Shop::open(&server.connect_string()).await.unwrap();
    // The same requests and answers are lost whenever this test runs.
    let script = "seed 7; cut to client at write with 20%; reset to server at write with 20%";
    let strikes = server.faults(script.parse().unwrap());

    let expected: Vec<_> = (0..5).map(|number| number.to_string()).collect();
    for order in &expected {
        shop.order(order).await.unwrap();
    }
    assert!(strikes.total() > 0, "nothing went wrong");
    assert_eq!(orders(&server), expected);
}

/// What the server has, behind the shop's back.
fn orders(server: &FakeServer) -> Vec<String> {
    server.with_server(|server| {
        let mut orders = server.node("/orders").unwrap().children;
        orders.sort_by_key(|name| name[name.len() - 10..].to_owned());
        let order = |name| server.node(&format!("/orders/{name}")).unwrap();
        let text = |name| String::from_utf8(order(name).data.unwrap().to_vec()).unwrap();
        orders.into_iter().map(text).collect()
    })
}
