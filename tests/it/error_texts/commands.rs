//! The binary: commands that talk to a daemon, and commands that find none.

use super::table::Table;
use crate::support::daemon::{Daemon, run, tidings};

pub fn provoke(table: &mut Table) {
    table.section("Command line: commands that talk to a daemon");
    let daemon = Daemon::start();
    let good = "{\"orderId\":\"1\",\"newStatus\":\"shipped\"}";
    for arguments in [
        &["publish", "inventory-chang", "productId=1"][..],
        &["publish", "no-such-type", "a=1"],
        &["publish", "order-status", "orderId=1", "newStatus=shippd"],
        &["publish", "inventory-change", "productId=1", "oldQuantity=many", "reason=sale"],
        &["publish", "order-status", "orderId=1", "orderId=2"],
        &["publish", "order-status", "orderId"],
        &["publish", "order-status", "--data", "{"],
        &["publish", "order-status"],
        &["publish", "order-status", "-", "--id", "1"],
        &["publish", "order-status", "orderId=1", "--id-prefix", "p"],
        &["tail", "order-statu"],
        &["tail", "nonsense"],
        &["tail", "order-status", "--where", "newStatus=shippd"],
        &["tail", "order-status", "--where", "orderid=1"],
        &["tail", "order-status", "--where", "newStatus"],
        &["tail", "--where", "newStatus=shippd"],
        &["tail", "--where", "colour=red"],
        &["tail", "order-status", "--since", "yesterday"],
        &["tail", "--count", "0"],
        &["history", "order-statu"],
        &["history", "order-status", "--where", "newStatus=shippd"],
        &["bench", "--channel", "order-statu"],
        &["bench", "--channel", "order-status"],
        &["bench", "--channel", "order-status", "--data", "{"],
        &["bench", "--data", "{\"productId\":7}"],
    ] {
        table.command(&format!("tidings {}", shell(arguments)), &daemon.run(arguments));
    }
    for (lines, stdin) in [
        ("a line that is not JSON", format!("{good}\n{{\"orderId\"\n")),
        ("a line that is refused", format!("{good}\n{{\"orderId\":1}}\n")),
    ] {
        let mut ended = run(daemon.command(&["publish", "order-status", "-", "--id-prefix", "p"]), &stdin);
        // The rate depends on the machine.
        let kept = ended.err.lines().filter(|line| !line.starts_with("published: "));
        ended.err = kept.collect::<Vec<_>>().join("\n");
        table.command(&format!("tidings publish order-status - --id-prefix p, with {lines}"), &ended);
    }
    let listen = daemon.url.trim_start_matches("http://").to_owned();
    table.command("tidings serve on the port of another daemon", &daemon.run(&["serve", "--listen", &listen]));

    for (what, broker) in [("a file", "file:a-file"), ("a folder in use", "file:log")] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a-file"), "").unwrap();
        let other = Daemon::with(&["--listen", "127.0.0.1:0", "--broker", "file:log"], folder);
        let mut ended = other.run(&["serve", "--listen", "127.0.0.1:0", "--broker", broker]);
        ended.err = ended.err.replace(&other.process.id().to_string(), "PID");
        table.command(&format!("tidings serve --broker {broker}, which is {what}"), &ended);
    }
    table.section("Command line: without a daemon");
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &["channels", "--url", "http://127.0.0.1:1"][..],
        &["tail", "--url", "http://127.0.0.1:1"],
        &["publish", "order-status", "--data", good, "--url", "http://127.0.0.1:1"],
        &["bench", "--url", "http://127.0.0.1:1"],
        &["channels", "--url", "localhost:7400"],
        &["tial"],
        &["schema", "chek", "x"],
        &["tail", "--wher", "a=1"],
        &["completions", "bsh"],
        &["serve", "--max-events-bytes", "1"],
        &["serve", "--listen", "192.0.2.1:7400", "--insecure", "--allowed-hosts", "192.0.2.1"],
    ] {
        table.command(&format!("tidings {}", shell(arguments)), &run(tidings(folder.path(), arguments), ""));
    }
}

/// The arguments as they are typed.
fn shell(arguments: &[&str]) -> String {
    let quoted = |argument: &&str| match argument.contains(['{', '"', ' ', '=']) && argument.contains(['{', '"', ' ']) {
        true => format!("'{argument}'"),
        false => (*argument).to_owned(),
    };
    arguments.iter().map(quoted).collect::<Vec<_>>().join(" ")
}
