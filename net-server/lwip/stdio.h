/* Nothing of <stdio.h> is used by what is built of lwIP. */
