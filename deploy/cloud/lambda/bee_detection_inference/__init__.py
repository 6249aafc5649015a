"""The Lambda function `bee-detection-inference`: pictures that come into the bucket are shown to a cloud model.

Runs on what the Lambda runtime brings, Python and boto3, and on nothing else: no import of `beeagent` here. Follow a
message: `handler` → `uploads` → `inference`; `backoff` says when one that failed is tried again.
"""
