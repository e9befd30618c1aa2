package inventory

// Spec returns the zero value of the struct that describes resources of a core
// kind, or nil for any other kind.
func Spec(kind string) any {
	switch kind {
	case KindHost:
		return Host{}
	case KindVM:
		return VM{}
	case KindLink:
		return Link{}
	case KindRoute:
		return Route{}
	case KindOVSBridge:
		return OVSBridge{}
	case KindNetwork:
		return Network{}
	case KindFilesystem:
		return Filesystem{}
	case KindDevice:
		return Device{}
	case KindVolumeGroup:
		return VolumeGroup{}
	case KindPool:
		return Pool{}
	case KindVolume:
		return Volume{}
	}
	return nil
}
