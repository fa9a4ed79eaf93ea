"""One service, or one part of the library, with real servers."""
