"""The command line, one file a command. Installed as ``normstats_cli``."""
