"""What tests share: servers, processes and files to test against."""
