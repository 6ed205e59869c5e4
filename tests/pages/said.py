"""What a page says, and pressing its buttons by their words."""

from streamlit.testing.v1 import AppTest


def texts(test: AppTest) -> str:
    """Join what the page says."""
    kinds = (test.title, test.markdown, test.caption, test.warning, test.error, test.info, test.subheader)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def progress_texts(test: AppTest) -> list[str]:
    """List what stands over the page's progress bars."""
    return [str(bar.proto.text) for bar in test.get("progress")]


def press(test: AppTest, label: str) -> None:
    """Click the first button with these words and let the page run."""
    next(button for button in test.button if button.label == label).click().run()
    assert not test.exception, test.exception
