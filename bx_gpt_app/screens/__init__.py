"""The shelf of screens: one file per screen, its template in templates/screens/."""
