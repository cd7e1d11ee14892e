"""What people see of a study. Installed as ``normstats_reports``."""
