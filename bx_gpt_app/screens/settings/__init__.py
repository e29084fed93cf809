"""Settings for a portal's administrators: one file per screen."""
