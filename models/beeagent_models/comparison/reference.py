"""What the reference article reached, on its own data.

https://aws.amazon.com/blogs/machine-learning/build-a-computer-vision-model-using-amazon-rekognition-custom-labels-and-compare-the-results-with-a-custom-trained-tensorflow-model/
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Reference:
    """A model of the article; precision and recall from 0 to 1, on the article's photographs and not on ours."""

    name: str
    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.precision * self.recall / (self.precision + self.recall)


ARTICLE: Final = (
    Reference("article: cloud", 0.99, 0.90),
    Reference("article: device", 0.83, 0.56),
)
"""Its Rekognition Custom Labels model and its EfficientDet, on its own data."""
