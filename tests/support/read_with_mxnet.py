"""Print what MXNet reads from PREFIX.rec and PREFIX.idx as JSON; run by the algorithm's interpreter."""

from __future__ import annotations

import hashlib
import json
import sys

import mxnet as mx

prefix, side, label_width = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
indexed = mx.recordio.MXIndexedRecordIO(f"{prefix}.idx", f"{prefix}.rec", "r")
records = {}
for key in indexed.keys:
    header, image = mx.recordio.unpack(indexed.read_idx(key))
    labels = [float(header.label)] if header.flag == 0 else header.label.tolist()
    records[key] = {"id": header.id, "labels": labels, "image": hashlib.sha256(image).hexdigest()}

batches = []
if side:
    for batch in mx.io.ImageRecordIter(
        path_imgrec=f"{prefix}.rec", data_shape=(3, side, side), batch_size=1, label_width=label_width, resize=side
    ):
        batches.append({"labels": batch.label[0].asnumpy().reshape(-1).tolist(), "shape": batch.data[0].shape})
json.dump({"records": records, "batches": batches}, sys.stdout)
