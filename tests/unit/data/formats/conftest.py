"""Small files made by hand in the layout of the official ones, with their awkward places."""

import pytest

# Version 3 of the study's products: corner 'Feature\Sample', '_profile', a row UNKNOWN. The
# sample MSM5 is all UNKNOWN; the plain MSM1 has a technical replicate and a pilot.
METAPHLAN = """\
Feature\\Sample\tMSM1_P_profile\tMSM1_profile\tMSM1_TR_profile\
\tCSM2_profile\tHSM3_P_profile\tMSM5_profile\tXSM9_profile
UNKNOWN\t0\t0\t0\t0\t0\t100\t0
k__Archaea\t0\t1.5\t2\t0\t0\t0\t0
k__Archaea|p__Euryarchaeota\t0\t1.5\t2\t0\t0\t0\t0
k__Archaea|p__Euryarchaeota|s__Methanobrevibacter_smithii\t0\t1.5\t2\t0\t0\t0\t0
k__Bacteria\t100\t98.5\t98\t100\t100\t0\t100
k__Bacteria|p__Firmicutes|g__Blautia\t40\t38.5\t38\t75\t50\t0\t25
k__Bacteria|p__Firmicutes|g__Blautia|s__Blautia_obeum\t30\t28.5\t28\t75\t25\t0\t25
k__Bacteria|p__Firmicutes|g__Blautia|s__Blautia_unclassified\t10\t10\t10\t0\t25\t0\t0
k__Bacteria|p__Bacteroidetes|g__Bacteroides|s__Bacteroides_ovatus\t60\t60\t60\t25\t50\t0\t75
"""
# RNA: the External IDs are those of the DNA, of fewer collections.
HUMANN = """\
# Pathway\tMSM1_pathabundance_cpm\tMSM1_TR_pathabundance_cpm\tCSM2_pathabundance_cpm
UNMAPPED\t300000\t200000\t250000
UNINTEGRATED\t600000\t700000\t650000
UNINTEGRATED|g__Blautia.s__Blautia_obeum\t5\t6\t7
1CMET2-PWY: formyl "tetrahydrofolate"\t60000\t50000\t40000
1CMET2-PWY: formyl "tetrahydrofolate"|g__Blautia.s__Blautia_obeum\t20000\t10000\t4000
1CMET2-PWY: formyl "tetrahydrofolate"|unclassified\t5000\t4000\t3000
PWY-5100: pyruvate fermentation\t40000\t50000\t60000
"""
METABOLOMICS = """\
Method,Pooled QC sample CV,m/z,RT,HMDB (*Representative ID),Metabolite,Compound,CSM2,HSM3,MSM1,PSM4
C18-neg,0.04,115.0764,9.21,HMDB00535,caproate,C18n_QI08,6478,1747,,19
C18-neg,0.3,200.1,3.5,,,C18n_QI900,11,12,13,14
HILIC-pos,0.08,76.0393,7.5,HMDB00123*,"glycine, ""free"" form",HILp_QI3,5000,0,7000,8000.5
HILIC-neg,,74.02,6.1,HMDB00535,caproate,HILn_TF9,,,55,
C8-pos,0.9,500.2,5.5,redundant ion,C18:1 LPC,C8p_QI7,1e9,2e9,3e9,
"""
METADATA = """\
Project,External ID,Participant ID,site_sub_coll,data_type,week_num,visit_num,\
site_name,consent_age,diagnosis,"Fruits (no juice) (Apples, raisins)",sex,Antibiotics,BMI
IBDMDB,MSM1_P,M2001,M2001C1,metagenomics,0,1,MGH,30,CD,No,Female,No,21
IBDMDB,MSM1,M2001,M2001C1,metagenomics,0,1,MGH,30,CD,No,Female,No,21
IBDMDB,MSM1_TR,M2001,M2001C1,metagenomics,0,1,MGH,30,CD,No,Female,No,21
IBDMDB,CSM2,C3002,C3002C1,metagenomics,2,3,Cedars-Sinai,,UC,"Yes, ""daily"" or so",Male,Yes,
IBDMDB,HSM3_P,H4003,H4003C1,metagenomics,4,5,Cincinnati,12,nonIBD,No,Male,No,17
IBDMDB,MSM5,M2005,M2005C1,metagenomics,0,1,MGH,44,nonIBD,No,Female,No,25
IBDMDB,ESM6,E5006,E5006C1,metagenomics,0,1,Emory,9,CD,No,Female,No,25
IBDMDB,MSM1,M2001,M2001C1,metatranscriptomics,0,1,MGH,30,CD,No,Female,No,21
IBDMDB,MSM1_TR,M2001,M2001C1,metatranscriptomics,0,1,MGH,30,CD,No,Female,No,21
IBDMDB,CSM2,C3002,C3002C1,metatranscriptomics,2,3,Cedars-Sinai,41,UC,No,Male,Yes,
IBDMDB,CSM2,C3002,C3002C1,metabolomics,2,3,Cedars-Sinai,41,UC,No,Male,Yes,
IBDMDB,HSM3,H4003,H4003C1,metabolomics,4,5,Cincinnati,12,nonIBD,No,Male,No,17
IBDMDB,MSM1,M2001,M2001C1,metabolomics,0,1,MGH,30,CD,No,Female,No,21
IBDMDB,PSM4,P6004,P6004C1,metabolomics,6,7,MGH Pediatrics,15,nonIBD,No,Female,No,19
IBDMDB,200001,M2001,M2001C1,serology,0,1,MGH,30,CD,No,Female,No,21
IBDMDB,200002,M2077,,host_genome,0,1,MGH,30,CD,No,Female,No,21
"""


@pytest.fixture
def official(tmp_path):
    """A folder with the four official files and nothing else."""
    folder = tmp_path / "hmp2"
    folder.mkdir()
    for name, text in {
        "taxonomic_profiles_3.tsv": METAPHLAN,
        "pathabundances_3.tsv": HUMANN,
        "HMP2_metabolomics.csv": METABOLOMICS,
        "hmp2_metadata_2018-08-20.csv": METADATA,
    }.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def write(tmp_path):
    """Write a file of some text and give its path."""

    def written(name, text):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return written
