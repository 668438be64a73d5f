//! A map that is read without a lock. A changed copy shares what has not changed with the former one: a change copies
//! one shard, of some hundred entries, and not the whole.

use std::hash::{BuildHasher as _, Hash};
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

/// The most entries of a shard, on average. A table of 448 entries takes half of the memory of one that has one more:
/// at this average, hardly any shard has more.
const SHARD_LEN: usize = 400;
/// The entries of a shard of a compact map, on average: the map can grow by a twentieth until it is copied.
const COMPACT_SHARD_LEN: usize = 380;

/// A map whose copies share their shards.
#[derive(Clone, Debug)]
pub(super) struct ShardedMap<K, V> {
    shards: Vec<Arc<HashTable<(K, V)>>>,
    /// Seeded at random, and several times as fast as that of the standard library: a check looks up about ten keys.
    hasher: DefaultHashBuilder,
    len: usize,
}

impl<K, V> Default for ShardedMap<K, V> {
    fn default() -> Self {
        Self { shards: vec![Arc::default()], hasher: DefaultHashBuilder::default(), len: 0 }
    }
}

impl<K: Clone + Eq + Hash, V: Clone> ShardedMap<K, V> {
    /// The number of entries.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The value of `key`.
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        let hash = self.hasher.hash_one(key);
        let shard = self.shards.get(self.shard_of(hash))?;
        shard.find(hash, |(known, _)| known == key).map(|(_, value)| value)
    }

    /// Sets the value of `key`; returns the one that it had.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        if self.len >= SHARD_LEN * self.shards.len() {
            self.add_shards();
        }
        let hash = self.hasher.hash_one(&key);
        let at = self.shard_of(hash);
        let hasher = &self.hasher;
        let shard = Arc::make_mut(self.shards.get_mut(at)?);
        if let Some((_, known)) = shard.find_mut(hash, |(known, _)| *known == key) {
            return Some(std::mem::replace(known, value));
        }
        shard.insert_unique(hash, (key, value), |(key, _)| hasher.hash_one(key));
        self.len += 1;
        None
    }

    /// Adds a quarter of the shards. With twice as many, most tables would soon be half empty.
    fn add_shards(&mut self) {
        self.distribute(self.shards.len() * 5 / 4 + 1);
    }

    /// Takes as little memory as the present entries need.
    pub(super) fn compact(&mut self) {
        self.distribute(self.len.div_ceil(COMPACT_SHARD_LEN).max(1));
    }

    fn distribute(&mut self, shards: usize) {
        // INVARIANT: each its own; clones of one would be copied at the first entry of each.
        let empty = (0..shards).map(|_| Arc::default()).collect();
        let whole = std::mem::replace(&mut self.shards, empty);
        for shard in whole {
            // A shard that no copy shares is moved.
            for (key, value) in Arc::unwrap_or_clone(shard) {
                let hash = self.hasher.hash_one(&key);
                let at = self.shard_of(hash);
                let hasher = &self.hasher;
                if let Some(shard) = self.shards.get_mut(at) {
                    Arc::make_mut(shard).insert_unique(hash, (key, value), |(key, _)| hasher.hash_one(key));
                }
            }
        }
    }

    /// Removes `key`; returns its value.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let hash = self.hasher.hash_one(key);
        let at = self.shard_of(hash);
        let shard = Arc::make_mut(self.shards.get_mut(at)?);
        let entry = shard.find_entry(hash, |(known, _)| known == key).ok()?;
        let ((_, value), _) = entry.remove();
        self.len -= 1;
        Some(value)
    }

    /// Every entry, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.shards.iter().flat_map(|shard| shard.iter()).map(|(key, value)| (key, value))
    }

    /// The entries of a part of the map, which `chance` chooses, as it does the first one.
    pub(super) fn some(&self, chance: impl Hash) -> impl Iterator<Item = (&K, &V)> {
        let hash = self.hasher.hash_one(chance);
        let shard = self.shards.get(self.shard_of(hash));
        let first = shard.map_or(0, |shard| usize::try_from(hash & 0xffff).unwrap_or(0) % shard.len().max(1));
        let entries = || shard.into_iter().flat_map(|shard| shard.iter());
        entries().skip(first).chain(entries().take(first)).map(|(key, value)| (key, value))
    }

    /// The memory of the table, without what the values point to.
    pub(super) fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.capacity() * (size_of::<(K, V)>() + 1) + 64).sum()
    }

    /// By bits in the middle: a table uses the low ones and the highest seven.
    fn shard_of(&self, hash: u64) -> usize {
        let shards = u64::try_from(self.shards.len()).unwrap_or(1);
        usize::try_from((((hash >> 24) & 0xffff_ffff) * shards) >> 32).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    #[test]
    fn a_copy_keeps_what_it_had_while_the_other_one_changes() {
        let seed: u64 = rand::random();
        println!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let mut map = ShardedMap::default();
        let mut model: HashMap<u32, u32> = HashMap::new();
        let mut former = Vec::new();
        for step in 0..20_000_u32 {
            let key = rng.random_range(0..3_000);
            if rng.random_bool(0.3) {
                assert_eq!(map.remove(&key), model.remove(&key));
            } else {
                assert_eq!(map.insert(key, step), model.insert(key, step));
            }
            if step % 4_000 == 0 {
                former.push((map.clone(), model.clone()));
                map.compact();
            }
        }
        former.push((map, model));
        for (map, model) in former {
            assert_eq!(map.len(), model.len());
            assert!((0..3_000).all(|key| map.get(&key) == model.get(&key)));
            assert_eq!(map.iter().map(|(key, value)| (*key, *value)).collect::<HashMap<_, _>>(), model);
        }
    }
}
