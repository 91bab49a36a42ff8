"""HTML pages that stand alone: one file, inline styles and SVG, everything from outside escaped."""
