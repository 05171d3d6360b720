//! The Redis protocol, version 2, as the emulators of the tests speak it to a real server: independent of the daemon's client.

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;

/// A connection to a server on this machine.
pub struct Connection(BufStream<TcpStream>);

/// A reply, or a pushed message. A lost connection is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Status(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Null,
    Array(Vec<Reply>),
}

impl Reply {
    /// The text of a message's part.
    pub fn text(&self) -> String {
        match self {
            Self::Status(text) | Self::Error(text) => text.clone(),
            Self::Integer(number) => number.to_string(),
            Self::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Self::Null | Self::Array(_) => String::new(),
        }
    }
}

impl Connection {
    /// Connects to this port. `None` if the server is down.
    pub async fn open(port: u16) -> Option<Self> {
        TcpStream::connect(("127.0.0.1", port)).await.ok().map(|stream| Self(BufStream::new(stream)))
    }

    /// Runs a command.
    pub async fn call(&mut self, command: &[Vec<u8>]) -> Reply {
        self.send(command).await;
        self.reply().await
    }

    /// Sends a command.
    pub async fn send(&mut self, command: &[Vec<u8>]) {
        let mut text = format!("*{}\r\n", command.len()).into_bytes();
        for word in command {
            text.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            text.extend_from_slice(word);
            text.extend_from_slice(b"\r\n");
        }
        // The reply says that the connection is gone.
        let _ = self.0.write_all(&text).await;
        let _ = self.0.flush().await;
    }

    /// Reads a reply.
    pub async fn reply(&mut self) -> Reply {
        self.try_reply().await.unwrap_or_else(|error| Reply::Error(format!("ERR the server is gone: {error}")))
    }

    async fn try_reply(&mut self) -> std::io::Result<Reply> {
        let mut line = String::new();
        if self.0.read_line(&mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        let (kind, rest) = line.split_at(1);
        let number = || rest.parse::<i64>().map_err(|_| std::io::Error::other(line.to_owned()));
        Ok(match kind {
            "+" => Reply::Status(rest.into()),
            "-" => Reply::Error(rest.into()),
            ":" => Reply::Integer(number()?),
            "$" | "*" if number()? < 0 => Reply::Null,
            "$" => {
                let mut bytes = vec![0; number()? as usize + 2];
                self.0.read_exact(&mut bytes).await?;
                bytes.truncate(bytes.len() - 2);
                Reply::Bulk(bytes)
            }
            "*" => {
                let mut replies = Vec::new();
                for _ in 0..number()? {
                    replies.push(Box::pin(self.try_reply()).await?);
                }
                Reply::Array(replies)
            }
            _ => return Err(std::io::Error::other(line.to_owned())),
        })
    }
}
