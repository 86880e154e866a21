"""Text for a paper's methods, with the numbers filled in; a checklist; references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cam_engine.evidence.calibration import BINS, DRAWS
from cam_engine.evidence.resampling import RESAMPLES
from cam_engine.reports.criteria import Cell, Section, make_table
from cam_engine.reports.report import ModelReport
from cam_engine.reports.words import counted, listed

_HERE, _AUTHORS = "answered here", "only the authors can tell"

# CLAIM, the 2024 update (Tejani et al. 2024): what is asked, and where this report answers.
CHECKLIST: tuple[tuple[int, str, str], ...] = (
    (1, "Identification as a study of AI, and the category of technology", ""),
    (2, "Summary of design, methods, results and conclusions", ""),
    (3, "Background, intended use and role of the AI approach", ""),
    (4, "Aims, objectives and hypotheses", ""),
    (5, "Prospective or retrospective study", ""),
    (6, "Study goal", ""),
    (7, "Data sources", ""),
    (8, "Inclusion and exclusion criteria", ""),
    (9, "Data preprocessing", "Inputs as in training; each model's line of preprocessing"),
    (10, "Selection of data subsets", ""),
    (11, "De-identification methods", ""),
    (12, "How missing data were handled", ""),
    (13, "Image acquisition protocol", ""),
    (14, "Method by which the reference standard was obtained", ""),
    (15, "Rationale for the reference standard", ""),
    (16, "Source of reference standard annotations", ""),
    (17, "Annotation of the test set", "label conflicts between twins: Data"),
    (18, "Inter- and intrarater variability", ""),
    (19, "How data were assigned to partitions", ""),
    (20, "Level at which partitions are disjoint", "leakage, shared fields and slides: Data"),
    (21, "Intended sample size", ""),
    (22, "Detailed description of the model", "architecture, input and digest of each model"),
    (23, "Software libraries, frameworks and packages", "versions below"),
    (24, "Initialisation of model parameters", ""),
    (25, "Details of the training approach", ""),
    (26, "Method of selecting the final model", ""),
    (27, "Ensembling techniques", ""),
    (28, "Metrics of model performance", "Performance, Calibration"),
    (29, "Statistical measures of significance and uncertainty", "intervals; pairs of models"),
    (30, "Robustness or sensitivity analysis", "Stability, Inputs as in training"),
    (31, "Methods for explainability or interpretability", "Localisation to Shortcuts"),
    (32, "Evaluation on internal data", "this report's split"),
    (33, "Testing on external data", ""),
    (34, "Clinical trial registration", ""),
    (35, "Numbers of cases included and excluded", "counts by split and class: Data"),
    (36, "Demographic and clinical characteristics", ""),
    (37, "Performance metrics and statistical uncertainty", "Performance"),
    (38, "Estimates of diagnostic performance and their precision", "Performance"),
    (39, "Failure analysis of incorrectly classified cases", "Failure analysis"),
    (40, "Study limitations", "Limits of what was shown"),
    (41, "Implications for practice", ""),
    (42, "Reference to the full study protocol", ""),
    (43, "Availability of software, trained model and data", "software and digests below"),
    (44, "Sources of funding and other support", ""),
)

REFERENCES = """\
@inproceedings{selvaraju2017gradcam, title={Grad-CAM: Visual Explanations from Deep Networks via Gradient-Based Localization}, author={Selvaraju, Ramprasaath R. and Cogswell, Michael and Das, Abhishek and Vedantam, Ramakrishna and Parikh, Devi and Batra, Dhruv}, booktitle={ICCV}, year={2017}}
@inproceedings{chattopadhay2018gradcampp, title={Grad-CAM++: Generalized Gradient-Based Visual Explanations for Deep Convolutional Networks}, author={Chattopadhay, Aditya and Sarkar, Anirban and Howlader, Prantik and Balasubramanian, Vineeth N.}, booktitle={WACV}, year={2018}}
@article{jiang2021layercam, title={LayerCAM: Exploring Hierarchical Class Activation Maps for Localization}, author={Jiang, Peng-Tao and Zhang, Chang-Bin and Hou, Qibin and Cheng, Ming-Ming and Wei, Yunchao}, journal={IEEE Transactions on Image Processing}, volume={30}, year={2021}}
@inproceedings{adebayo2018sanity, title={Sanity Checks for Saliency Maps}, author={Adebayo, Julius and Gilmer, Justin and Muelly, Michael and Goodfellow, Ian and Hardt, Moritz and Kim, Been}, booktitle={NeurIPS}, year={2018}}
@article{arun2021trustworthiness, title={Assessing the Trustworthiness of Saliency Maps for Localizing Abnormalities in Medical Imaging}, author={Arun, Nishanth and Gaw, Nathan and Singh, Praveer and others}, journal={Radiology: Artificial Intelligence}, volume={3}, number={6}, year={2021}}
@inproceedings{hedstrom2024sanity, title={A Fresh Look at Sanity Checks for Saliency Maps}, author={Hedstr{\\"o}m, Anna and Weber, Leander and Lapuschkin, Sebastian and H{\\"o}hne, Marina M.-C.}, booktitle={xAI}, year={2024}}
@inproceedings{petsiuk2018rise, title={RISE: Randomized Input Sampling for Explanation of Black-box Models}, author={Petsiuk, Vitali and Das, Abir and Saenko, Kate}, booktitle={BMVC}, year={2018}}
@inproceedings{rong2022road, title={A Consistent and Efficient Evaluation Strategy for Attribution Methods}, author={Rong, Yao and Leemann, Tobias and Borisov, Vadim and Kasneci, Gjergji and Kasneci, Enkelejda}, booktitle={ICML}, year={2022}}
@article{lapuschkin2019cleverhans, title={Unmasking Clever Hans Predictors and Assessing What Machines Really Learn}, author={Lapuschkin, Sebastian and W{\\"a}ldchen, Stephan and Binder, Alexander and Montavon, Gr{\\'e}goire and Samek, Wojciech and M{\\"u}ller, Klaus-Robert}, journal={Nature Communications}, volume={10}, year={2019}}
@inproceedings{nixon2019calibration, title={Measuring Calibration in Deep Learning}, author={Nixon, Jeremy and Dusenberry, Michael W. and Zhang, Linchuan and Jerfel, Ghassen and Tran, Dustin}, booktitle={CVPR Workshops}, year={2019}}
@inproceedings{vaicenavicius2019calibration, title={Evaluating Model Calibration in Classification}, author={Vaicenavicius, Juozas and Widmann, David and Andersson, Carl and Lindsten, Fredrik and Roll, Jacob and Sch{\\"o}n, Thomas B.}, booktitle={AISTATS}, year={2019}}
@article{wang2004ssim, title={Image Quality Assessment: From Error Visibility to Structural Similarity}, author={Wang, Zhou and Bovik, Alan C. and Sheikh, Hamid R. and Simoncelli, Eero P.}, journal={IEEE Transactions on Image Processing}, volume={13}, number={4}, year={2004}}
@article{mcnemar1947, title={Note on the Sampling Error of the Difference between Correlated Proportions or Percentages}, author={McNemar, Quinn}, journal={Psychometrika}, volume={12}, year={1947}}
@article{holm1979, title={A Simple Sequentially Rejective Multiple Test Procedure}, author={Holm, Sture}, journal={Scandinavian Journal of Statistics}, volume={6}, year={1979}}
@article{tejani2024claim, title={Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update}, author={Tejani, Ali S. and Klontzas, Michail E. and Gatti, Anthony A. and Mongan, John T. and Moy, Linda and Park, Seong Ho and Kahn, Charles E.}, journal={Radiology: Artificial Intelligence}, volume={6}, number={4}, year={2024}}"""  # noqa: E501  a line a reference


def write_methods(facts: Mapping[str, Any], models: Sequence[ModelReport], units: int) -> Section:
    """facts: the report's. units: how many independent ones the split has."""
    made = [model for model in models if model.error is None]
    checklist: list[tuple[Cell, ...]] = [
        (number, asked, _HERE if where else _AUTHORS, where) for number, asked, where in CHECKLIST
    ]
    versions = dict(made[0].facts["versions"]) if made else {}
    versions.update(facts["libraries"])
    digests: list[tuple[Cell, ...]] = [
        (model.name, model.facts["architecture"], model.facts["sha256"]) for model in made
    ]
    return Section(
        "methods",
        "For a paper: methods, checklist, references",
        (*_text(facts, made, units), "\n" + REFERENCES),
        (),
        (
            make_table(
                "methods.claim",
                "CLAIM 2024",
                "item:count, asked, answer, where",
                checklist,
                "What only the authors can tell is left blank.",
            ),
            make_table("methods.versions", "Versions", "name, version", versions.items()),
            make_table("methods.models", "Models", "model, architecture, SHA-256", digests),
        ),
    )


def _text(facts: Mapping[str, Any], models: Sequence[ModelReport], units: int) -> tuple[str, ...]:
    names = sorted({str(model.facts["architecture"]) for model in models})
    seeds = models[0].facts["effort"]["random_seeds"] if models else 0
    clahe = "with" if facts["clahe"] else "without"
    return (
        (
            f"{counted(len(models), 'classifier')}{f' ({listed(names)})' if names else ''} "
            f"{'was' if len(models) == 1 else 'were'} evaluated on "
            f"{counted(facts['crops'], 'crop')} of the {facts['split']} split, which come from "
            f"{counted(units, 'independent unit')}. Crops were classified {clahe} contrast "
            "limited adaptive histogram equalisation (clip limit 2.0, 8 x 8 tiles), resized and "
            "normalised as each model's line of preprocessing says. Confidence intervals are 95% "
            f"percentile bootstrap intervals over independent units ({RESAMPLES:,} resamples, "
            f"seed {facts['seed']}). Models were compared by McNemar's exact test with Holm's "
            f"adjustment. The expected calibration error was taken over {BINS} bins of equal mass "
            f"and compared with that of {DRAWS:,} draws from the predicted probabilities."
        ),
        (
            "Class activation maps were made from the activations and gradients of an early, a "
            "middle and a late layer; the fused map is the geometric mean of late Grad-CAM "
            "(where the head averages that layer's cells; else LayerCAM) with the middle and the "
            "early LayerCAM map. Localisation was measured by pixel-wise average precision "
            "against labelled boxes; dependence on the model by cascading randomisation of "
            f"weights ({counted(seeds, 'seed')}, batch norms' statistics estimated "
            "anew); dependence on the class by Spearman's correlation of maps for different "
            "classes; faithfulness by insertion, deletion and ROAD, with equal values changed in "
            "one step, beside random blobs, a centred Gaussian, a blurred copy of the map and "
            "Sobel edges; causes by filling the parasite, and an equal area elsewhere, with "
            "blurred background."
        ),
    )
