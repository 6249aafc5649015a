from moto_aws import aws, moto

__all__ = ["aws", "moto"]
