//! Content-addressed storage: ids, segments, ref log, cache. Knows no paths.
