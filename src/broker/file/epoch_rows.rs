//! The statements on epochs: when each earlier epoch of a channel ended, and which events the log shares with it.

use rusqlite::{Connection, OptionalExtension, params};

use super::clock::LogTime;
use super::database::Failure;
use super::latest_rows;
use super::rows::{ChannelNumber, cached, key};
use crate::event::Epoch;

type Result<T> = std::result::Result<T, Failure>;

/// Begins a new epoch in every channel at this log time, also in those that the catalogue no longer has. Events keep their
/// offsets, and no subject keeps its newest event.
///
/// If the events are `shared`, they are known to be those of the earlier epochs; otherwise every reader gets all of them.
pub(super) fn begin_epoch_everywhere(to: &Connection, epoch: &Epoch, shared: bool, time: LogTime) -> Result<()> {
    let all = key(0, u64::MAX);
    to.execute("INSERT INTO past_epochs SELECT number, epoch, ?, ? FROM channels", [all, time as i64])?;
    if shared {
        let newest = "SELECT max(key) FROM events WHERE key BETWEEN channel << 48 AND (channel << 48) + ?1";
        let limit_to_head = format!("UPDATE past_epochs SET shared = min(shared, coalesce(({newest}) & ?1, 0))");
        to.execute(&limit_to_head, [all])?;
    } else {
        to.execute("UPDATE past_epochs SET shared = 0", [])?;
    }
    to.execute("UPDATE channels SET epoch = ?", [epoch.as_str()])?;
    latest_rows::forget_all(to)
}

/// Begins a new epoch of one channel at this log time. Its events are not known to be those of the earlier epochs.
pub(super) fn begin_epoch(to: &Connection, number: ChannelNumber, epoch: &Epoch, time: LogTime) -> Result<()> {
    let end = "INSERT INTO past_epochs SELECT number, epoch, 0, ? FROM channels WHERE number = ?";
    to.execute(end, params![time as i64, number])?;
    to.execute("UPDATE past_epochs SET shared = 0 WHERE channel = ?", [number])?;
    to.execute("UPDATE channels SET epoch = ? WHERE number = ?", params![epoch.as_str(), number])?;
    latest_rows::forget(to, number)
}

/// The offset up to which the log has the same events as in an earlier epoch; 0 for an unknown epoch.
pub(super) fn shared_with(from: &Connection, number: ChannelNumber, epoch: &Epoch) -> Result<u64> {
    let mut select = cached(from, "SELECT shared FROM past_epochs WHERE channel = ? AND epoch = ?")?;
    let shared: Option<i64> = select.query_row(params![number, epoch.as_str()], |row| row.get(0)).optional()?;
    Ok(shared.unwrap_or_default() as u64)
}

/// The first epoch that ended at this log time or later, and the offset up to which the log has the same events.
pub(super) fn first_ended_since(
    from: &Connection,
    number: ChannelNumber,
    time: LogTime,
) -> Result<Option<(Epoch, u64)>> {
    let select =
        "SELECT epoch, shared FROM past_epochs WHERE channel = ? AND ended >= ? ORDER BY ended, shared LIMIT 1";
    let row = |row: &rusqlite::Row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)? as u64));
    let found = cached(from, select)?.query_row(params![number, time as i64], row).optional()?;
    let Some((epoch, shared)) = found else { return Ok(None) };
    let epoch = epoch.parse().map_err(|_| Failure::Damaged("a past epoch".into()))?;
    Ok(Some((epoch, shared)))
}

#[cfg(test)]
mod tests {
    use super::super::database::{Database, FILE};
    use super::super::rows::{ChannelRow, channel, create_channel, delete_events, insert_event};
    use super::*;
    use crate::config::FileSync;

    /// A database with three channels, the second with events at the offsets 1 and 9.
    fn database() -> (tempfile::TempDir, Database, ChannelRow) {
        let folder = tempfile::tempdir().unwrap();
        let mut database = Database::open(&folder.path().join(FILE), FileSync::Os).unwrap();
        let row = database.write(|to| {
            let numbers = NAMES.map(|name| create_channel(to, name, &Epoch::random()).map(|row| row.number));
            let [before, number, after] = numbers;
            let number = number?;
            for (number, offset) in [(before?, 7), (number, 1), (number, 9), (after?, 1)] {
                insert_event(to, number, offset, 1, "{}")?;
            }
            channel(to, NAMES[1])
        });
        (folder, database, row.unwrap())
    }

    const NAMES: [&str; 3] = ["before", "channel", "after"];

    #[test]
    fn a_new_epoch_shares_the_events_of_earlier_ones() {
        let (_folder, mut database, mut row) = database();
        let number = row.number;
        let channels = |database: &mut Database| NAMES.map(|name| database.read(|from| channel(from, name)).unwrap());
        let shared =
            |database: &mut Database, epoch: &Epoch| database.read(|from| shared_with(from, number, epoch)).unwrap();
        let first = row.epoch.clone();
        let [second, third, fourth, own] = [(); 4].map(|()| Epoch::random());
        database.write(|to| begin_epoch_everywhere(to, &second, true, 1)).unwrap();
        let heads = channels(&mut database).map(|channel| (channel.epoch == second, channel.head));
        assert_eq!(heads, [(true, 7), (true, 9), (true, 1)]);
        assert_eq!([&first, &second].map(|epoch| shared(&mut database, epoch)), [9, 0]);
        // A later loss counts for all earlier epochs.
        database.write(|to| insert_event(to, number, 10, 1, "{}")).unwrap();
        database.write(|to| begin_epoch_everywhere(to, &third, true, 2)).unwrap();
        database.write(|to| delete_events(to, &mut row, 2..=10)).unwrap();
        assert_eq!([&first, &second].map(|epoch| shared(&mut database, epoch)), [9, 10]);
        database.write(|to| begin_epoch_everywhere(to, &fourth, true, 3)).unwrap();
        assert_eq!([&first, &second, &third].map(|epoch| shared(&mut database, epoch)), [1, 1, 1]);
        database.write(|to| begin_epoch(to, number, &own, 4)).unwrap();
        assert_eq!([&first, &fourth].map(|epoch| shared(&mut database, epoch)), [0, 0]);
        assert_eq!(channels(&mut database).map(|channel| channel.epoch), [fourth.clone(), own, fourth]);
    }

    #[test]
    fn the_first_epoch_that_ended_since_a_time_is_found() {
        let (_folder, mut database, row) = database();
        let [second, third, own] = [(); 3].map(|()| Epoch::random());
        database.write(|to| begin_epoch_everywhere(to, &second, true, 10)).unwrap();
        database.write(|to| begin_epoch_everywhere(to, &third, true, 20)).unwrap();
        let mut found = |time| database.read(|from| first_ended_since(from, row.number, time)).unwrap();
        assert_eq!([9, 10].map(&mut found), [(); 2].map(|()| Some((row.epoch.clone(), 9))));
        assert_eq!([11, 20].map(&mut found), [(); 2].map(|()| Some((second.clone(), 9))));
        assert_eq!(found(21), None);
        database.write(|to| begin_epoch(to, row.number, &own, 30)).unwrap();
        let mut found = |time| database.read(|from| first_ended_since(from, row.number, time)).unwrap();
        assert_eq!([10, 21, 31].map(&mut found), [Some((row.epoch.clone(), 0)), Some((third, 0)), None]);
    }
}
