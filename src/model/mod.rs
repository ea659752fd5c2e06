//! The nouns of Quorate as plain data.
