"""MXNet's RecordIO files: records, image headers, and the images inside them."""
