"""Where the rows come from: one adapter for each engine, behind one protocol."""
