//! Facts about one recipient domain in, one route and its reason out (`management-record.md` §9.3).
