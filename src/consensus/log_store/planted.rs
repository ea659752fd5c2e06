//! What a planted bug of the log does; see [`planted`](crate::planted).

use super::{row, writer::Writer};
use openraft::RaftTypeConfig;
use std::io;

impl<C: RaftTypeConfig> Writer<C> {
    /// Writes the vote that was given before.
    pub(super) fn write_late_vote(&mut self) -> io::Result<()> {
        let vote = self.shared.view().vote.clone();
        let Some(vote) = vote else { return Ok(()) };
        self.flush_rows()?;
        self.written.votes += 1;
        self.put_value(row::VOTE, &(self.written.votes, &vote))?;
        self.sync()
    }
}
