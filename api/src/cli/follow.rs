//! Reading server-sent events, with their ids, from a blocking connection.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// Longest line that is taken; a verdict with much evidence has some tens of KiB.
const MAX_LINE: u64 = 8 << 20;

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerEvent {
    /// `id`, when the event has one.
    pub id: Option<String>,
    /// `event`, `message` when the event has none.
    pub name: String,
    /// `data`, lines joined.
    pub data: String,
}

/// What a connection has to tell.
#[derive(Debug)]
pub enum Told {
    /// An event.
    Event(ServerEvent),
    /// A comment: the connection lives.
    Alive,
    /// The connection ended.
    Ended(String),
}

/// Parses events off `body` until it ends.
pub struct EventReader<R> {
    body: BufReader<R>,
}

impl<R: Read> EventReader<R> {
    /// A reader over an answer's body.
    pub fn new(body: R) -> Self {
        Self {
            body: BufReader::new(body),
        }
    }

    /// The next thing told.
    pub fn next_told(&mut self) -> Told {
        let mut event = ServerEvent {
            name: "message".into(),
            ..ServerEvent::default()
        };
        let mut has_data = false;
        loop {
            let mut line = String::new();
            match self.body.by_ref().take(MAX_LINE).read_line(&mut line) {
                Ok(0) => return Told::Ended("the service ended the connection".into()),
                Ok(_) if !line.ends_with('\n') => return Told::Ended("a line broke off".into()),
                Ok(_) => {}
                Err(e) => return Told::Ended(e.to_string()),
            }
            let line = line.trim_end_matches(['\n', '\r']);
            if line.is_empty() {
                if has_data {
                    return Told::Event(event);
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" => return Told::Alive,
                "id" => event.id = Some(value.to_owned()),
                "event" => value.clone_into(&mut event.name),
                "data" => {
                    if has_data {
                        event.data.push('\n');
                    }
                    has_data = true;
                    event.data.push_str(value);
                }
                _ => {}
            }
        }
    }
}

/// A connection that is read on its own thread, so that the command can look up from it.
pub struct Follower {
    told: Receiver<Told>,
}

impl Follower {
    /// Connects to `url` and goes on after `last_id`.
    pub fn connect(url: String, last_id: String) -> Self {
        let (tell, told) = sync_channel(64);
        std::thread::spawn(move || read(&url, &last_id, &tell));
        Self { told }
    }

    /// Waits for something for at most `patience`.
    pub fn next(&self, patience: Duration) -> Option<Told> {
        match self.told.recv_timeout(patience) {
            Ok(told) => Some(told),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Told::Ended("the reader is gone".into())),
        }
    }
}

fn read(url: &str, last_id: &str, tell: &SyncSender<Told>) {
    let request = ureq::get(url)
        .header("accept", "text/event-stream")
        .header("last-event-id", last_id)
        .config()
        .timeout_connect(Some(Duration::from_secs(10)))
        .timeout_recv_response(Some(Duration::from_secs(30)))
        .build();
    let body = match request.call() {
        Ok(response) => response.into_body().into_reader(),
        Err(e) => {
            let _ = tell.send(Told::Ended(e.to_string()));
            return;
        }
    };
    let mut reader = EventReader::new(body);
    loop {
        let told = reader.next_told();
        let last = matches!(told, Told::Ended(_));
        // Nobody listens any more, or nothing more will come.
        if tell.send(told).is_err() || last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<Told> {
        let mut reader = EventReader::new(text.as_bytes());
        let mut out = Vec::new();
        loop {
            let told = reader.next_told();
            let last = matches!(told, Told::Ended(_));
            out.push(told);
            if last {
                return out;
            }
        }
    }

    #[test]
    fn events_are_parsed_as_the_standard_has_them() {
        let told = all(
            ": keep-alive\n\nid: 7\r\nevent: gap\r\ndata: {\"a\":\ndata: 1}\n\nid: 8\n\ndata:x\n\n",
        );
        assert!(matches!(told[0], Told::Alive));
        let Told::Event(first) = &told[1] else {
            panic!("{told:?}")
        };
        assert_eq!(
            (first.id.as_deref(), first.name.as_str()),
            (Some("7"), "gap")
        );
        assert_eq!(first.data, "{\"a\":\n1}");
        let Told::Event(second) = &told[2] else {
            panic!("{told:?}")
        };
        assert_eq!(
            (second.name.as_str(), second.data.as_str()),
            ("message", "x")
        );
        assert!(matches!(told[3], Told::Ended(_)));
    }

    #[test]
    fn half_an_event_is_not_one() {
        let told = all("id: 9\ndata: broken");
        assert!(matches!(told.as_slice(), [Told::Ended(_)]));
    }
}
