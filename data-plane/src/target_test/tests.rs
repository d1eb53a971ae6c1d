//! What a node tells of a test.
