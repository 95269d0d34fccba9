//! What we know of a remote domain: its management record, how well proven, and for how long.
