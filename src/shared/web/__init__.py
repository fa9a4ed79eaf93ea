"""HTTP, served and called: what every process of the system does alike."""
