from support.aws_commands import account, aws, moto, run

__all__ = ["account", "aws", "moto", "run"]
