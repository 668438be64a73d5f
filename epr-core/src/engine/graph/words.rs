//! Words that occur in many rows, such as types: each is kept once, and rows hold its index.

use std::sync::Arc;

/// The most words of one list, which is searched from its beginning.
const MAX_WORDS: usize = 1_000;

/// A list of words, in the order in which they were first seen.
#[derive(Clone)]
pub(super) struct Words<T>(Arc<Vec<T>>);

impl<T> Default for Words<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone + PartialEq> Words<T> {
    /// The index of a known word.
    pub(super) fn find<U: ?Sized>(&self, word: &U) -> Option<u16>
    where
        T: PartialEq<U>,
    {
        self.0.iter().position(|known| known == word).and_then(|at| u16::try_from(at).ok())
    }

    /// The word with this index.
    pub(super) fn get(&self, index: u16) -> Option<&T> {
        self.0.get(usize::from(index))
    }

    /// The index of `word`, which is added if it is new; `None` if there are too many.
    pub(super) fn index(&mut self, word: &T) -> Option<u16> {
        if let Some(index) = self.find(word) {
            return Some(index);
        }
        if self.0.len() == MAX_WORDS {
            return None;
        }
        let index = u16::try_from(self.0.len()).ok()?;
        Arc::make_mut(&mut self.0).push(word.clone());
        Some(index)
    }
}
