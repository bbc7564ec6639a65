//! What the log and the status say when the places of the socket run out: one line a minute, however many are refused.

use std::time::{Duration, Instant};

/// Between two lines in the log; and for so long after the last time the status says it.
const PAUSE: Duration = Duration::from_secs(60);

/// Since the last line.
#[derive(Debug, Default)]
pub(super) struct Crowding {
    said: Option<Instant>,
    last: Option<(Instant, Crowd)>,
    refused: u32,
    closed: u32,
}

/// Who holds most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Crowd {
    /// The user.
    pub(super) uid: u32,
    /// How many connections.
    pub(super) holds: u32,
}

/// What there is to be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line {
    /// Who holds most.
    pub(super) crowd: Crowd,
    /// Connections that were told Busy.
    pub(super) refused: u32,
    /// Connections that had to make room.
    pub(super) closed: u32,
}

impl Crowding {
    /// A limit was reached: one connection was closed for another, or (`!made_room`) one was refused. Gives what is due to be logged.
    pub(super) fn note(&mut self, crowd: Crowd, made_room: bool, now: Instant) -> Option<Line> {
        self.last = Some((now, crowd));
        if made_room {
            self.closed += 1;
        } else {
            self.refused += 1;
        }
        if self.said.is_some_and(|said| now.saturating_duration_since(said) < PAUSE) {
            return None;
        }
        self.said = Some(now);
        let line = Line { crowd, refused: self.refused, closed: self.closed };
        (self.refused, self.closed) = (0, 0);
        Some(line)
    }

    /// Who held most when places last ran out, if that is not long ago.
    pub(super) fn recent(&self, now: Instant) -> Option<Crowd> {
        self.last.filter(|(at, _)| now.saturating_duration_since(*at) < PAUSE).map(|(_, crowd)| crowd)
    }
}

impl Line {
    pub(super) fn write(self) {
        let Self { crowd: Crowd { uid, holds }, refused, closed } = self;
        tracing::warn!(
            uid,
            holds,
            refused,
            closed,
            "the places of the socket run out; this user holds most. See which of its processes hold /run/identityd/socket: ss -xp; more places: [server] connections"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_leaves_one_line_a_minute_with_what_it_did() {
        let mut crowding = Crowding::default();
        let crowd = Crowd { uid: 2000, holds: 256 };
        let start = Instant::now();
        assert_eq!(crowding.note(crowd, false, start), Some(Line { crowd, refused: 1, closed: 0 }));
        for second in 1..60 {
            let now = start + Duration::from_secs(second);
            assert_eq!(crowding.note(crowd, second % 2 == 0, now), None);
        }
        let later = start + Duration::from_secs(61);
        assert_eq!(crowding.note(crowd, true, later), Some(Line { crowd, refused: 30, closed: 30 }));
        assert_eq!(crowding.recent(later), Some(crowd));
        assert_eq!(crowding.recent(later + PAUSE), None);
    }
}
