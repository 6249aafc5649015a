"""The Lambda function `bee-detection-inference`: a cloud model detects objects in images that are uploaded to a bucket.

It needs only Python and boto3 of the Lambda runtime, so it must not import `beeagent`. A message passes `handler` →
`uploads` → `inference`; `backoff` computes the delay of the next attempt.
"""
