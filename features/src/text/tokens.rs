//! What a white-space-separated token is: an ordinary word, or something that is never decoded.

use super::{
    cells::{Cell, is_alnum},
    ids::is_id,
};

/// What may be done to a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// May be decoded and squeezed.
    Word,
    /// A URL, bare domain or e-mail address: left alone.
    Link,
    /// `@name`: left alone.
    Mention,
    /// A number, time, price, version, hash or other identifier: left alone.
    Id,
}

/// Top-level domains that make a bare `name.tld` a link. Words after a full stop without a space
/// are common in chat, so the list is short.
const TLDS: &[&str] = &[
    "app", "biz", "ca", "cc", "click", "club", "co", "com", "de", "dev", "edu", "eu", "fr", "gg",
    "gift", "gov", "info", "io", "link", "live", "ly", "me", "net", "nl", "online", "org", "pl",
    "pro", "ru", "shop", "site", "store", "su", "top", "tv", "uk", "us", "vip", "win", "xyz",
];

/// Tells the kind of a token (no white space inside, at least one cell).
pub(super) fn classify(token: &[Cell], raw: &str) -> Kind {
    let core = trim(token);
    if core.is_empty() {
        return Kind::Word;
    }
    if is_mention(core) {
        Kind::Mention
    } else if is_link(core) {
        Kind::Link
    } else if is_id(core, raw) {
        Kind::Id
    } else {
        Kind::Word
    }
}

/// The token without the punctuation around it.
pub(super) fn trim(token: &[Cell]) -> &[Cell] {
    let opens = |ch: char| {
        matches!(
            ch,
            '(' | '[' | '{' | '<' | '"' | '\'' | '*' | '_' | '~' | '`'
        )
    };
    let closes = |ch: char| {
        matches!(
            ch,
            ')' | ']'
                | '}'
                | '>'
                | '"'
                | '\''
                | '.'
                | ','
                | '!'
                | '?'
                | ':'
                | ';'
                | '*'
                | '_'
                | '~'
                | '`'
        )
    };
    let start = token
        .iter()
        .position(|cell| !opens(cell.ch))
        .unwrap_or(token.len());
    let end = token
        .iter()
        .rposition(|cell| !closes(cell.ch))
        .map_or(start, |last| last + 1);
    token.get(start..end.max(start)).unwrap_or(&[])
}

fn is_mention(core: &[Cell]) -> bool {
    let Some((at, name)) = core.split_first() else {
        return false;
    };
    at.ch == '@' && !name.is_empty() && name.iter().all(|c| is_alnum(c.ch) || c.ch == '_')
}

fn is_link(core: &[Cell]) -> bool {
    if !core.iter().any(|cell| matches!(cell.ch, '.' | ':')) {
        return false;
    }
    let text: String = core.iter().map(|cell| cell.ch).collect();
    if text.contains("://") || text.starts_with("www.") {
        return true;
    }
    let (host, path) = match text.find(['/', '?', ':', '#']) {
        Some(at) => (&text[..at], &text[at..]),
        None => (text.as_str(), ""),
    };
    let (user, host) = match host.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, host),
    };
    let Some((name, tld)) = host.rsplit_once('.') else {
        return false;
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .chars()
                .all(|ch| is_alnum(ch) || matches!(ch, '-' | '_'))
    };
    if !name.split('.').all(is_label)
        || tld.len() < 2
        || !tld.bytes().all(|b| b.is_ascii_lowercase())
    {
        return false;
    }
    // `i.d.i.o.t` has no label of two letters or more before its last one.
    let last_label = name.rsplit('.').next().unwrap_or(name);
    user.is_some_and(|user| !user.is_empty())
        || (last_label.len() >= 2 && (TLDS.contains(&tld) || path.starts_with('/')))
}
