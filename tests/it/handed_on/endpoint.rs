//! A receiver that is a process of its own: it writes the id of each event into a ledger, and answers then.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::lines;
use crate::support::daemon::Running;

/// Arguments: port (0: any), ledger, how long an answer takes in seconds.
const PROGRAM: &str = r#"
import http.server, json, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        event = json.loads(self.rfile.read(int(self.headers["content-length"])))
        time.sleep(float(sys.argv[3]))
        with open(sys.argv[2], "a") as ledger:
            ledger.write(event["id"] + "\n")
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

pub struct Endpoint {
    process: Running,
    pub address: SocketAddr,
    ledger: PathBuf,
}

impl Endpoint {
    /// Starts one on this port; 0 is any.
    pub fn start(port: u16, ledger: &Path, delay: &str) -> Self {
        let mut command = Command::new("python3");
        command.args(["-c", PROGRAM, &port.to_string(), ledger.to_str().unwrap(), delay]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let process = Running::start(command);
        let address = SocketAddr::from(([127, 0, 0, 1], process.line().parse().unwrap()));
        Self { process, address, ledger: ledger.to_owned() }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// The ids of the events that were received, in order.
    pub fn received(&self) -> Vec<String> {
        lines(&self.ledger)
    }

    /// Kills the process.
    pub fn kill(self) -> SocketAddr {
        self.process.signal("KILL");
        let ended = self.process.ended();
        assert_eq!(ended.code, None, "{ended:?}");
        self.address
    }
}
