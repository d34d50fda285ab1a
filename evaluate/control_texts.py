"""Ordinary English prose in twelve registers: the loss on it shows what an adapter forgot of ordinary English.

Written for this purpose and by none of the models that are compared, so no contestant scores its own text. No text
is an advertisement, a joke, a guided tour or code, which are the voices that our recipes teach.
"""

NEUTRAL_TEXTS: tuple[str, ...] = (
    # An encyclopaedia
    "The common reed is a tall perennial grass that grows along the edges of lakes, ditches and slow rivers. Its "
    "hollow stems reach a height of two to four metres and carry long, pointed leaves. In late summer the plant "
    "produces dark purple flower heads, which turn grey and fluffy as the seeds ripen. Reeds spread mainly through "
    "underground stems and often form dense beds that shelter birds, insects and young fish from predators and strong "
    "winds.",
    # Instructions
    "Turn off the water before you begin, then open the tap to let the remaining pressure out. Remove the handle by "
    "loosening the small screw beneath the cap. Use an adjustable spanner to unscrew the valve, turning it to the "
    "left. Pull the old rubber washer off the end and press a new one of the same size into its place. Put the parts "
    "back in reverse order and check slowly for leaks.",
    # A news report
    "A bridge on the main road north of the town was closed on Tuesday after engineers found cracks in two of its "
    "supports. The council said that repairs would take at least six weeks and that heavy lorries would be sent along "
    "the motorway instead. Residents have complained about longer journeys to the hospital. A spokesman for the local "
    "bus company said that three routes would run every half hour until the work was finished.",
    # A letter
    "Dear Margaret, thank you for the photographs, which arrived on Thursday. It was good to see how much the "
    "children have grown since the summer. We are all well here, although Peter has been away for most of the month "
    "because of his new job. The garden has suffered from the dry weather, but we still have plenty of beans. If you "
    "can come in October, please let me know which train you will take. With love, Helen.",
    # A story
    "When Daniel reached the station, the last train had already left. He put his suitcase down beside the bench and "
    "looked along the empty platform. Somewhere behind the waiting room a door closed, and then everything was quiet "
    "again. He counted the money in his pocket, although he knew there was not enough for a hotel. After a while he "
    "picked up the case and began to walk towards the lights on the far side of the river.",
    # A science explainer
    "Sound travels through air as a series of small changes in pressure. When a string vibrates, it pushes the nearby "
    "molecules together and then lets them spread apart, and this pattern moves outwards in every direction. The "
    "faster the string vibrates, the higher the note we hear. In water the molecules are closer together and resist "
    "being squeezed, so sound moves more than four times as fast there as it does in air at the same temperature.",
    # Minutes of a meeting
    "The chair opened the meeting at seven o'clock and apologies were received from two members. The minutes of the "
    "previous meeting were approved without changes. The treasurer reported that the account held slightly less than "
    "at the same time last year, mainly because of repairs to the roof. It was agreed to obtain three quotations for "
    "new windows. Mrs Patel offered to contact the school about using its hall in May. The next meeting is on the "
    "fourth of March.",
    # A weather forecast
    "Most of the country will start the day dry, with patches of fog in the valleys that should clear by the middle "
    "of the morning. Cloud will thicken from the west during the afternoon, and light rain is expected to reach the "
    "coast by about four o'clock. Temperatures will be close to the average for the season, between nine and twelve "
    "degrees. Overnight the wind will strengthen, and some snow is possible on ground above six hundred metres.",
    # A recipe
    "Peel two onions and chop them finely. Warm a spoonful of oil in a large pan and cook the onions over a low heat "
    "until they are soft but not brown. Add four sliced carrots, a handful of red lentils and enough stock to cover "
    "everything. Bring the pan to the boil, then let it simmer for twenty-five minutes, stirring from time to time. "
    "Season with salt, pepper and a little lemon juice, and serve with bread.",
    # History
    "Before the railway came, most goods in the region were carried by boat along the canal. Farmers sent wheat and "
    "wool to the coast, and the barges returned with coal, timber and salt. The journey took four days in good "
    "weather and much longer when the water froze. After the line was opened, freight could reach the port in a "
    "single afternoon. Within twenty years the canal company had sold its warehouses, and several of the locks had "
    "fallen into ruin.",
    # A book review
    "The author's second novel follows three sisters who inherit a farm that none of them wants. The opening chapters "
    "are slow, and some of the minor characters are hard to tell apart, but the middle of the book is handled with "
    "great care. The scenes between the eldest sister and her father are especially convincing. The ending leaves "
    "several questions open, which may disappoint some readers. On the whole it is a thoughtful study of family and "
    "duty.",
    # A route
    "Leave the car park by the gate in the far corner and follow the path beside the stream for about half a mile. "
    "Cross the wooden footbridge and turn right, keeping the wall on your left. At the edge of the forest the track "
    "divides; take the wider branch, which climbs gently through the trees. From the top there is a clear view of the "
    "lake. Continue downhill past the farm until you reach the road, then turn left for the village.",
)
