"""LaTeX's names of signs with their Unicode characters: what formulas in answers are made of."""

LETTERS = {
    name: character
    for names, characters in (
        (
            "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau",
            "αβγδεζηθικλμνξπρστ",
        ),
        ("upsilon phi chi psi omega varepsilon vartheta varphi varrho varsigma", "υφχψωεϑφϱς"),
        ("Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega", "ΓΔΘΛΞΠΣΥΦΨΩ"),
        ("ell hbar Re Im aleph wp imath jmath nabla partial infty emptyset varnothing", "ℓℏℜℑℵ℘ıȷ∇∂∞∅∅"),
        ("forall exists nexists neg lnot angle degree prime top bot", "∀∃∄¬¬∠°′⊤⊥"),
        ("ldots dots cdots vdots ddots dotsc dotsb", "……⋯⋮⋱…⋯"),
        ("langle rangle lfloor rfloor lceil rceil lvert rvert vert lVert rVert Vert", "⟨⟩⌊⌋⌈⌉|||‖‖‖"),
        ("sum prod coprod int iint iiint oint bigcup bigcap bigoplus bigotimes", "∑∏∐∫∬∭∮⋃⋂⨁⨂"),
    )
    for name, character in zip(names.split(), characters, strict=True)
}
"""Signs that stand as close to their neighbours as letters do."""

OPERATORS = {
    name: character
    for names, characters in (
        ("times cdot div pm mp ast star circ bullet oplus ominus otimes odot", "×·÷±∓∗⋆∘•⊕⊖⊗⊙"),
        ("cup cap setminus land wedge lor vee", "∪∩∖∧∧∨∨"),
        ("leq le geq ge neq ne approx equiv sim simeq cong propto ll gg doteq", "≤≤≥≥≠≠≈≡∼≃≅∝≪≫≐"),
        ("subset subseteq supset supseteq in notin ni mid perp parallel models vdash", "⊂⊆⊃⊇∈∉∋|⊥∥⊨⊢"),
        ("to rightarrow leftarrow leftrightarrow Rightarrow Leftarrow Leftrightarrow implies iff", "→→←↔⇒⇐⇔⇒⇔"),
        ("mapsto longrightarrow longmapsto uparrow downarrow hookrightarrow gets", "↦⟶⟼↑↓↪←"),
        ("colon coloneqq triangleq lesssim gtrsim prec succ", ":≔≜≲≳≺≻"),
    )
    for name, character in zip(names.split(), characters, strict=True)
}
"""Signs with a space on each side."""

FUNCTIONS = frozenset(
    {
        "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "log", "ln",
        "lg", "exp", "max", "min", "sup", "inf", "lim", "limsup", "liminf", "det", "dim", "ker", "deg", "gcd", "arg",
        "argmax", "argmin", "Pr", "mod",
    }
)  # fmt: skip

SPACES = {",": " ", ";": " ", ":": " ", " ": " ", "quad": "  ", "qquad": "    ", "!": "", "displaystyle": ""}
ESCAPED = {sign: sign for sign in "{}$%#&_"} | {"|": "‖"}
ACCENTS = {
    name: chr(code)
    for name, code in {
        "hat": 0x302, "widehat": 0x302, "bar": 0x304, "overline": 0x305, "tilde": 0x303, "widetilde": 0x303,
        "vec": 0x20D7, "dot": 0x307, "ddot": 0x308, "underline": 0x332,
    }.items()
}  # fmt: skip
"""Accents as characters that combine with the one before them."""

DOUBLE = dict(zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ1", "𝔸𝔹ℂ𝔻𝔼𝔽𝔾ℍ𝕀𝕁𝕂𝕃𝕄ℕ𝕆ℙℚℝ𝕊𝕋𝕌𝕍𝕎𝕏𝕐ℤ𝟙", strict=True))
SCRIPT = dict(zip("BEFHILMR", "ℬℰℱℋℐℒℳℛ", strict=True))
RAISED = dict(
    zip("0123456789+-−=()abcdefghijklmnoprstuvwxyzTABDEGHIJKLMNOPRUVWβγδθφχ′*",
        "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻᵀᴬᴮᴰᴱᴳᴴᴵᴶᴷᴸᴹᴺᴼᴾᴿᵁⱽᵂᵝᵞᵟᶿᵠᵡ′*",
        strict=True)
)  # fmt: skip
LOWERED = dict(zip("0123456789+-−=()aehijklmnoprstuvxβγρφχ", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓᵦᵧᵨᵩᵪ", strict=True))
