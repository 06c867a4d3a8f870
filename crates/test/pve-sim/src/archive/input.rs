//! Opening an archive for reading.
