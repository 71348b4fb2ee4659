// %%PLAIN%%: what one raw example becomes, and what the model's answers are. Written by deploykit.

%%CODE%%

%%FACTS%%
