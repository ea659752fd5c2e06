//! Length-delimited postcard frames over any byte stream.
