"""The parts of the chat's screen. Each shows rows and posts messages; none calls the backend."""
