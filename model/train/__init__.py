"""Trains small models of the DeepSeek-V3 architecture from scratch. Never imported by the assistant at run time."""
