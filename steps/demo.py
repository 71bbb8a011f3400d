"""The closed loop in a few minutes: serving, drift, retraining, and a takeover under traffic.

mlflow run . -e demo
mlflow run . -e demo -P clean=true

Half of the real sample, drawn from its earlier rows, trains a champion. The other rows arrive as
live traffic through the real service, their true labels later. In the later rows, the features that
indicate fraud fade. `monitor` detects it and retrains, and the running service takes over the new
champion while it answers.
"""

import logging
from pathlib import Path

from steps.demo_scenario.data import read_demo_rows
from steps.demo_scenario.folder import create_folder, remove_earlier_demo
from steps.demo_scenario.loop import monitor_last, new_champion, train_champion
from steps.demo_scenario.outcome import report_outcome
from steps.demo_scenario.service import running_service
from steps.demo_scenario.traffic import Traffic
from steps.runtime.entry_point import step

logger = logging.getLogger("ml-pipes")


@step
def demo(folder: str, clean: bool) -> None:
    """Play the scenario and check that no prediction was lost."""
    place = Path(folder).resolve()
    remove_earlier_demo(place)
    if clean:
        logger.info("removed the demo's model, data and log; its runs stay in MLflow")
        return
    create_folder(place)
    log_uri = f"sqlite:///{place}/predictions.db"
    rows = read_demo_rows()
    logger.info("1. Training a champion on half of the sample, drawn from its earlier rows")
    train_champion(rows.training, place)
    with running_service(log_uri, place) as url:
        traffic, background = Traffic(url), Traffic(url)
        logger.info("2. Sending unchanged traffic, then its true labels")
        traffic.send(rows.unchanged)
        traffic.send_labels(rows.unchanged)
        before = monitor_last(len(rows.unchanged), log_uri, retrain="never")
        logger.info("3. Sending drifted traffic: features that indicate fraud fade")
        traffic.send(rows.drifted)
        traffic.send_labels(rows.drifted)
        logger.info("4. Monitoring and retraining while traffic continues")
        with background.in_background(rows.drifted_later) as sender:
            drifted = monitor_last(len(rows.drifted), log_uri, retrain="auto")
            background.wait_for_version(new_champion(drifted), sender)
        logger.info("5. Sending the remaining traffic to the new champion, then all true labels")
        remaining = rows.drifted_later.iloc[background.sent :]
        traffic.send(remaining)
        traffic.send_labels(rows.drifted_later)
        after = monitor_last(len(remaining), log_uri, retrain="never")
    report_outcome([before, drifted, after], traffic, background, log_uri)


if __name__ == "__main__":
    demo()
