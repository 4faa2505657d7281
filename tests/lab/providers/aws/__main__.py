"""`python -m tests.lab.providers.aws ENGINE`: what the launcher of the plugin starts."""

from tests.lab.providers.aws.provider import AwsStandin
from tests.lab.providers.serving import serve

serve(AwsStandin())
