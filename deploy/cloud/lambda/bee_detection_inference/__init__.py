"""The Lambda function `bee-detection-inference`: a cloud model detects objects in images that are uploaded to a bucket.

Runs on what the Lambda runtime brings, Python and boto3, and on nothing else: no import of `beeagent` here. Follow a
message: `handler` → `uploads` → `inference`; `backoff` says when one that failed is tried again.
"""
