//! The cases that the caches of both languages pass (`tests/cache/cases.json`), a naive model beside the cache, and what the
//! cases do not reach.

mod cases;
mod model;
mod parts;
mod planned;
