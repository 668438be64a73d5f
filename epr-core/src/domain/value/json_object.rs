//! The members of a JSON object: a vector sorted by key.
//!
//! A B-tree allocates a leaf for eleven members however few there are, so that 1 MiB of small objects became 100 MB.
//! Owns order and uniqueness of the keys; must never hold two members with the same key.

use std::fmt;

use serde::{Serialize, Serializer};

/// Members with values of type `V`, sorted by code point (which is the order of their UTF-8 bytes).
#[derive(Clone, PartialEq)]
pub struct Object<V>(Vec<(String, V)>);

impl<V> Default for Object<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V> Object<V> {
    /// An object without members.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// From members in any order.
    ///
    /// # Errors
    /// A key that occurs twice.
    pub fn from_distinct(mut members: Vec<(String, V)>) -> Result<Self, String> {
        // Most senders write sorted keys, or few of them.
        members.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let twice = members.windows(2).find_map(|pair| match pair {
            [(one, _), (other, _)] if one == other => Some(one.clone()),
            _ => None,
        });
        match twice {
            Some(key) => Err(key),
            None => {
                members.shrink_to_fit();
                Ok(Self(members))
            }
        }
    }

    fn find(&self, key: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.as_str().cmp(key))
    }

    /// The value under `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&V> {
        self.find(key).ok().and_then(|at| self.0.get(at)).map(|(_, value)| value)
    }

    /// The value under `key`, mutable.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut V> {
        self.find(key).ok().and_then(|at| self.0.get_mut(at)).map(|(_, value)| value)
    }

    /// Whether there is a member `key`.
    #[must_use]
    pub fn contains_key(&self, key: &str) -> bool {
        self.find(key).is_ok()
    }

    /// Adds a member, or replaces its value and returns the previous one. Each insertion moves the members after it:
    /// for objects with few members.
    pub fn insert(&mut self, key: String, value: V) -> Option<V> {
        match self.find(&key) {
            Ok(at) => self.0.get_mut(at).map(|(_, known)| std::mem::replace(known, value)),
            Err(at) => {
                self.0.insert(at, (key, value));
                None
            }
        }
    }

    /// Removes a member and returns its value.
    pub fn remove(&mut self, key: &str) -> Option<V> {
        self.find(key).ok().map(|at| self.0.remove(at).1)
    }

    /// The number of members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The members in the order of their keys.
    pub fn iter(&self) -> Members<'_, V> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// The keys in their order.
    #[must_use]
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &String> {
        self.0.iter().map(|(key, _)| key)
    }

    /// The values in the order of their keys.
    #[must_use]
    pub fn values(&self) -> impl ExactSizeIterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }
}

/// Iterates over the members of an object.
pub type Members<'a, V> = std::iter::Map<std::slice::Iter<'a, (String, V)>, fn(&(String, V)) -> (&String, &V)>;

impl<V: fmt::Debug> fmt::Debug for Object<V> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_map().entries(self.iter()).finish()
    }
}

impl<V: Serialize> Serialize for Object<V> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_map(self)
    }
}

impl<'a, V> IntoIterator for &'a Object<V> {
    type Item = (&'a String, &'a V);
    type IntoIter = Members<'a, V>;

    fn into_iter(self) -> Members<'a, V> {
        self.iter()
    }
}

impl<V> IntoIterator for Object<V> {
    type Item = (String, V);
    type IntoIter = std::vec::IntoIter<(String, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Of two members with the same key the later one stays.
impl<V> FromIterator<(String, V)> for Object<V> {
    fn from_iter<I: IntoIterator<Item = (String, V)>>(members: I) -> Self {
        let mut all = Self::new();
        all.extend(members);
        all
    }
}

impl<V> Extend<(String, V)> for Object<V> {
    fn extend<I: IntoIterator<Item = (String, V)>>(&mut self, members: I) {
        self.0.extend(members);
        // Stable, and then read from the back: the first of a run of equal keys is the one that came last.
        self.0.reverse();
        self.0.sort_by(|(one, _), (other, _)| one.cmp(other));
        self.0.dedup_by(|(later, _), (kept, _)| later == kept);
    }
}

impl<V, const N: usize> From<[(String, V); N]> for Object<V> {
    fn from(members: [(String, V); N]) -> Self {
        members.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::json::{Json, JsonObject};

    fn keys(members: &JsonObject) -> Vec<&str> {
        members.keys().map(String::as_str).collect()
    }

    #[test]
    fn members_are_sorted_and_unique_however_they_came() {
        let mut members = JsonObject::new();
        for (n, key) in ["b", "a", "c", "b"].into_iter().enumerate() {
            let before = members.insert(key.to_owned(), Json::Int(i64::try_from(n).unwrap()));
            assert_eq!(before, (n == 3).then_some(Json::Int(0)));
        }
        assert_eq!(keys(&members), ["a", "b", "c"]);
        assert_eq!(members.get("b"), Some(&Json::Int(3)));
        let pairs = [("b", 0), ("a", 1), ("c", 2), ("b", 3)].map(|(key, n)| (key.to_owned(), Json::Int(n)));
        assert_eq!(members, pairs.clone().into_iter().collect());
        assert_eq!(JsonObject::from_distinct(pairs.to_vec()), Err("b".to_owned()));
        assert_eq!(members.remove("a"), Some(Json::Int(1)));
        assert_eq!((members.remove("a"), members.len(), members.contains_key("c")), (None, 2, true));
    }
}
