"""From figures to Vega-Lite specifications, and from those to SVG."""
